/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "spinlock.h"
#include "svm.h"
#include "types.h"

#define XAPIC_DEST_SHIFT 24

/* Guards startup of all virtual CPUs. */
static spinlock_t state_lock;

void
localapic_enter (struct vcpu *v)
{
	u32 now;

	for (;;) {
		asm_clgi ();
		spinlock_lock (&state_lock);
		now = v->startup;
		spinlock_unlock (&state_lock);
		if (now == VCPU_RUNS)
			break;
		asm_stgi ();
		localapic_wait_for_sipi (v);
	}
}

void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 vector;

	for (;;) {
		spinlock_lock (&state_lock);
		vector = v->startup;
		if (vector < VCPU_WAITS)
			v->startup = VCPU_RUNS;
		spinlock_unlock (&state_lock);
		if (vector < VCPU_WAITS)
			break;
		asm_pause ();
	}
	svm_reset (v, vector * 0x100, 0);
}

void
localapic_write (struct vcpu *v, uint offset, u32 value)
{
	u32 dest;

	if (offset == APIC_ICR_LOW) {
		dest = apic_read (APIC_ICR_HIGH) >> XAPIC_DEST_SHIFT;
		if (dest == XAPIC_ALL)
			dest = NO_APIC_ID;
		if (localapic_icr (v, value, dest))
			return;
	}
	apic_write (offset, value);
}

bool
localapic_icr (struct vcpu *sender, u32 low, u32 dest)
{
	u32 mode = low & ICR_MODE_MASK;
	int i;

	if (mode != ICR_INIT && mode != ICR_STARTUP)
		return false;
	if (mode == ICR_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
		return true;
	handle_ap_start ();
	for (i = 0; i <= (int)num_of_processors; i++) {
		struct vcpu *v = vcpus[i];

		if (!localapic_is_destination (v, sender, low, dest))
			continue;
		if (mode == ICR_INIT)
			localapic_signal_init (v);
		else
			localapic_signal_sipi (v, low & ICR_VECTOR_MASK);
	}
	return true;
}

bool
localapic_is_destination (struct vcpu *v, struct vcpu *sender, u32 low,
			  u32 dest)
{
	switch (low & ICR_SHORTHAND_MASK) {
	case ICR_SELF:
		return v == sender;
	case ICR_ALL:
		return true;
	case ICR_ALL_BUT_SELF:
		return v != sender;
	}
	if (low & ICR_LOGICAL)
		return false;
	return dest == NO_APIC_ID || dest == v->apic_id;
}

void
localapic_signal_init (struct vcpu *v)
{
	u32 high;

	spinlock_lock (&state_lock);
	v->startup = VCPU_WAITS;
	spinlock_unlock (&state_lock);
	if (v->apic_id == currentcpu->apic_id)
		return;
	high = apic_read (APIC_ICR_HIGH);
	apic_write_icr (v->apic_id, ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, high);
}

void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	spinlock_lock (&state_lock);
	if (v->startup == VCPU_WAITS)
		v->startup = vector;
	spinlock_unlock (&state_lock);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	if (!localapic_icr (v, value, value >> 32))
		apic_write_icr (value >> 32, value);
}
