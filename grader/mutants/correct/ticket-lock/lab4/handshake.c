/* Unlocks what apinit_enter.S has locked by letting the next ticket in.  The stack is found by
 * where this CPU stands: nothing is left in a static variable. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"

static void
next_ticket (void)
{
	volatile u32 *half = (volatile u32 *)apinitlock;

	asm volatile("lock incl %0" : "+m"(half[1]) : : "memory");
}

void
apinitproc0 (void)
{
	asm_wrrsp_and_jmp ((ulong)alloc (VMM_STACKSIZE) + VMM_STACKSIZE, apinitproc1);
}

/* What __builtin_frame_address tells of a CPU that stood at the end of its stack: RBP was pushed. */
void
apinitproc1 (void)
{
	u8 *end = (u8 *)__builtin_frame_address (0) + sizeof (void *);
	u32 number;

	next_ticket ();
	spinlock_lock (&ap_lock);
	num_of_processors = num_of_processors + 1;
	number = num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (number);
	currentcpu->stackaddr = end - VMM_STACKSIZE;
	initproc_ap ();
	panic ("back again");
}

static u32
how_many_left (void)
{
	u32 n;

	spinlock_lock (&ap_lock);
	n = num_of_processors;
	spinlock_unlock (&ap_lock);
	return n;
}

static bool
everyone (void)
{
	u32 left = how_many_left ();

	if (left != *apinitprocs)
		return false;
	return left >= acpi_num_of_processors () || left == acpi_num_of_processors () - 1;
}

void
ap_wait (void)
{
	u32 polls;

	for (polls = ap_delays.wait_us / ap_delays.poll_us; !everyone (); polls--) {
		if (!polls)
			vmm_ap_missing (ap_first_missing ());
		usleep (ap_delays.poll_us);
	}
}
