/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "svm.h"
#include "types.h"

void
localapic_enter (struct vcpu *v)
{
	asm_clgi ();
	while (v->startup != VCPU_RUNS) {
		asm_stgi ();
		localapic_wait_for_sipi (v);
		asm_clgi ();
	}
}

/* The guest's registers first: if another INIT has come by then, it begins
 * elsewhere, and all of this once more. */
void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 vector;

	do {
		for (;;) {
			vector = v->startup;
			if (vector < VCPU_WAITS)
				break;
			asm_pause ();
		}
		svm_reset (v, vector << 8, 0);
	} while (
		!__sync_bool_compare_and_swap (&v->startup, vector, VCPU_RUNS));
}

void
localapic_write (struct vcpu *v, uint offset, u32 value)
{
	u32 dest = apic_read (APIC_ICR_HIGH) >> 24;

	if (offset == APIC_ICR_LOW &&
	    localapic_icr (v, value, dest == XAPIC_ALL ? NO_APIC_ID : dest))
		return;
	apic_write (offset, value);
}

bool
localapic_icr (struct vcpu *sender, u32 low, u32 dest)
{
	struct vcpu *v;
	u32 i;

	switch (low & ICR_MODE_MASK) {
	case ICR_INIT:
		if (low & ICR_LEVEL && !(low & ICR_ASSERT))
			return true;
		break;
	case ICR_STARTUP:
		break;
	default:
		return false;
	}
	handle_ap_start ();
	for (i = num_of_processors + 1; i--;) {
		v = vcpus[i];
		if (!localapic_is_destination (v, sender, low, dest))
			continue;
		if ((low & ICR_MODE_MASK) == ICR_STARTUP)
			localapic_signal_sipi (v, low);
		else
			localapic_signal_init (v);
	}
	return true;
}

bool
localapic_is_destination (struct vcpu *v, struct vcpu *sender, u32 low,
			  u32 dest)
{
	bool itself = v == sender;

	if (!(low & ICR_SHORTHAND_MASK))
		return !(low & ICR_LOGICAL) &&
		       (dest == NO_APIC_ID || v->apic_id == dest);
	return itself ? (low & ICR_SHORTHAND_MASK) != ICR_ALL_BUT_SELF :
			(low & ICR_SHORTHAND_MASK) != ICR_SELF;
}

/* Those that need not exit go back into their guests. */
void
localapic_signal_init (struct vcpu *v)
{
	u32 high = apic_read (APIC_ICR_HIGH);

	v->startup = VCPU_WAITS;
	__sync_synchronize ();
	apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, high);
}

void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	__sync_val_compare_and_swap (&v->startup, VCPU_WAITS, vector);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	if (!localapic_icr (v, value, value >> 32))
		apic_write_icr (value >> 32, value);
}
