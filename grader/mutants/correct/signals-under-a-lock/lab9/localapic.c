/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "spinlock.h"
#include "svm.h"
#include "types.h"

/* By the number of the CPU; guarded by signal_lock. */
static spinlock_t signal_lock;
static volatile bool init_pending[NUM_OF_PCPU], begun[NUM_OF_PCPU];
static volatile u32 sipi[NUM_OF_PCPU]; /* vector + 1 */

static u32
number_of (const struct vcpu *v)
{
	u32 i;

	for (i = 0; vcpus[i] != v; i++)
		;
	return i;
}

static bool
must_wait (u32 i)
{
	return init_pending[i] || (i && !begun[i]);
}

void
localapic_enter (struct vcpu *v)
{
	for (;;) {
		asm_clgi ();
		if (!must_wait (currentcpu->cpunum))
			return;
		asm_stgi ();
		localapic_wait_for_sipi (v);
	}
}

void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 i = currentcpu->cpunum, found;

	for (;;) {
		while (!sipi[i])
			asm_pause ();
		spinlock_lock (&signal_lock);
		found = sipi[i];
		sipi[i] = 0;
		if (found) {
			init_pending[i] = false;
			begun[i] = true;
		}
		spinlock_unlock (&signal_lock);
		if (found)
			break;
	}
	svm_reset (v, (found - 1) << 8, 0);
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

void
localapic_signal_init (struct vcpu *v)
{
	u32 i = number_of (v), high;
	bool inside;

	spinlock_lock (&signal_lock);
	inside = !must_wait (i);
	init_pending[i] = true;
	sipi[i] = 0;
	spinlock_unlock (&signal_lock);
	if (!inside || i == (u32)currentcpu->cpunum)
		return;
	high = apic_read (APIC_ICR_HIGH);
	apic_write_icr (v->apic_id, ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, high);
}

void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	u32 i = number_of (v);

	spinlock_lock (&signal_lock);
	if (must_wait (i) && !sipi[i])
		sipi[i] = vector + 1;
	spinlock_unlock (&signal_lock);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	if (!localapic_icr (v, value, value >> 32))
		apic_write_icr (value >> 32, value);
}
