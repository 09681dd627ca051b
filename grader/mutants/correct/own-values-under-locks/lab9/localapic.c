/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "spinlock.h"
#include "svm.h"
#include "types.h"

#define XAPIC_DEST_SHIFT 24

static spinlock_t dest_lock, high_lock;
static u32 guest_dest, guest_high; /* each guarded by its lock */
static u32 vectors[NUM_OF_PCPU];   /* each used by one CPU alone */

void
localapic_enter (struct vcpu *v)
{
	for (;;) {
		asm_clgi ();
		if (v->startup == VCPU_RUNS)
			return;
		asm_stgi (); /* the NMI of that INIT comes here */
		localapic_wait_for_sipi (v);
	}
}

void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 *vector = &vectors[currentcpu->cpunum];

	while ((*vector = v->startup) >= VCPU_WAITS)
		asm_pause ();
	/* Not if an INIT has come in between. */
	if (__sync_bool_compare_and_swap (&v->startup, *vector, VCPU_RUNS))
		svm_reset (v, *vector << 8, 0);
}

void
localapic_write (struct vcpu *v, uint offset, u32 value)
{
	u32 dest;

	if (offset == APIC_ICR_LOW) {
		spinlock_lock (&dest_lock);
		guest_dest = apic_read (APIC_ICR_HIGH) >> XAPIC_DEST_SHIFT;
		if (guest_dest == XAPIC_ALL)
			guest_dest = NO_APIC_ID;
		dest = guest_dest;
		spinlock_unlock (&dest_lock);
		if (localapic_icr (v, value, dest))
			return;
	}
	apic_write (offset, value);
}

bool
localapic_icr (struct vcpu *sender, u32 low, u32 dest)
{
	u32 mode = low & ICR_MODE_MASK;
	u32 i;

	if (mode != ICR_INIT && mode != ICR_STARTUP)
		return false;
	if (mode == ICR_INIT && (low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
		return true;
	handle_ap_start ();
	for (i = 0; i <= num_of_processors; i++) {
		if (!localapic_is_destination (vcpus[i], sender, low, dest))
			continue;
		if (mode == ICR_INIT)
			localapic_signal_init (vcpus[i]);
		else
			localapic_signal_sipi (vcpus[i], low & ICR_VECTOR_MASK);
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
	if (__sync_lock_test_and_set (&v->startup, VCPU_WAITS) != VCPU_RUNS ||
	    v->apic_id == currentcpu->apic_id)
		return;
	spinlock_lock (&high_lock);
	guest_high = apic_read (APIC_ICR_HIGH);
	apic_write_icr (v->apic_id, ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, guest_high);
	spinlock_unlock (&high_lock);
}

void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	__sync_bool_compare_and_swap (&v->startup, VCPU_WAITS, vector);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	u32 low = value;
	u32 dest = value >> 32;

	if (!localapic_icr (v, low, dest))
		apic_write_icr (dest, low);
}
