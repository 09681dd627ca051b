/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "svm.h"
#include "types.h"

static u32
exchange (volatile u32 *word, u32 value)
{
	asm volatile("xchgl %0, %1" : "+r"(value), "+m"(*word) : : "memory");
	return value;
}

/* Return whether the word was old, and is new now. */
static bool
change (volatile u32 *word, u32 old, u32 new)
{
	u32 found = old;

	asm volatile("lock cmpxchgl %2, %1"
		     : "+a"(found), "+m"(*word)
		     : "r"(new)
		     : "memory", "cc");
	return found == old;
}

/* Look for a SIPI only with GIF = 0, so that there is one look for all. */
void
localapic_enter (struct vcpu *v)
{
again:
	asm volatile("clgi" : : : "memory");
	if (v->startup == VCPU_RUNS)
		return;
	asm volatile("stgi" : : : "memory");
	localapic_wait_for_sipi (v);
	goto again;
}

void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 found;

	for (;; asm_pause ()) {
		found = v->startup;
		if (found & (VCPU_WAITS | VCPU_RUNS))
			continue;
		if (change (&v->startup, found, VCPU_RUNS))
			break;
	}
	svm_reset (v, found << 8, 0);
}

/* The destination that a guest has written, by its CPU: the APIC's own may be
 * that of an NMI. */
static u32 high[NUM_OF_PCPU];
static bool high_known[NUM_OF_PCPU];

void
localapic_write (struct vcpu *v, uint offset, u32 value)
{
	int cpu = currentcpu->cpunum;
	u32 dest;

	if (offset == APIC_ICR_HIGH) {
		high[cpu] = value;
		high_known[cpu] = true;
	}
	if (offset == APIC_ICR_LOW) {
		if (!high_known[cpu]) {
			high[cpu] = apic_read (APIC_ICR_HIGH);
			high_known[cpu] = true;
		}
		dest = high[cpu] >> 24;
		if (dest == XAPIC_ALL)
			dest = NO_APIC_ID;
		if (localapic_icr (v, value, dest)) {
			apic_write (APIC_ICR_HIGH, high[cpu]);
			return;
		}
	}
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
	u32 dest = apic_read (APIC_ICR_HIGH);

	if (exchange (&v->startup, VCPU_WAITS) == VCPU_RUNS)
		apic_write_icr (v->apic_id, ICR_NMI | ICR_ASSERT);
	apic_write (APIC_ICR_HIGH, dest);
}

void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	change (&v->startup, VCPU_WAITS, vector);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	if (!localapic_icr (v, value, value >> 32))
		apic_write_icr (value >> 32, value);
}
