/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "svm.h"
#include "types.h"

/* How many INITs have come and have been obeyed, and the SIPI after the last one.
 * One word holds both numbers that other CPUs change: INITs in the upper half,
 * a SIPI's vector and a mark that there is one in the lower. */
#define SIPI_MARK 0x100

static volatile u64 come[NUM_OF_PCPU];
static u32 obeyed[NUM_OF_PCPU]; /* only by the CPU itself */

static u32
number_of (const struct vcpu *v)
{
	u32 i = 0;

	while (vcpus[i] != v)
		i++;
	return i;
}

/* An AP waits from the beginning, as if an INIT had come. */
static u32
inits (u32 i, u64 word)
{
	return (word >> 32) + (i ? 1 : 0);
}

void
localapic_enter (struct vcpu *v)
{
	u32 i = currentcpu->cpunum;

	for (;;) {
		if (inits (i, come[i]) != obeyed[i]) {
			localapic_wait_for_sipi (v);
			continue;
		}
		asm_clgi ();
		if (inits (i, come[i]) == obeyed[i])
			break;
		asm_stgi ();
	}
}

void
localapic_wait_for_sipi (struct vcpu *v)
{
	u32 i = currentcpu->cpunum;
	u64 word;

	while (!((word = come[i]) & SIPI_MARK))
		asm_pause ();
	obeyed[i] = inits (i, word);
	svm_reset (v, (word & ICR_VECTOR_MASK) << 8, 0);
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
	u64 word;

	do {
		word = come[i];
	} while (!__sync_bool_compare_and_swap (&come[i], word,
						((word >> 32) + 1) << 32));
	high = apic_read (APIC_ICR_HIGH);
	apic_write_icr (v->apic_id, ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, high);
}

/* Lost if the CPU runs: then a SIPI is marked already, or there was no INIT. */
void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	u32 i = number_of (v);
	u64 word = come[i];

	if (inits (i, word) && !(word & SIPI_MARK))
		__sync_bool_compare_and_swap (&come[i], word,
					      word | SIPI_MARK | vector);
}

void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	if (!localapic_icr (v, value, value >> 32))
		apic_write_icr (value >> 32, value);
}
