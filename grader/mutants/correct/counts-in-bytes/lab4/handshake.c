/* The release serves the next ticket.  The stacks are in a table with a place for each AP. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"
#include "tracepoints.h"

static void *stacks[NUM_OF_PCPU];

void
apinitproc0 (void)
{
	u32 id = apic_id ();

	stacks[id] = alloc (VMM_STACKSIZE);
	asm_wrrsp_and_jmp ((ulong)stacks[id] + VMM_STACKSIZE, apinitproc1);
}

void
apinitproc1 (void)
{
	volatile u8 *served = (volatile u8 *)apinitlock + 1;
	int n;

	++*served;
	spinlock_lock (&ap_lock);
	n = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (n);
	currentcpu->stackaddr = stacks[apic_id ()];
	initproc_ap ();
	panic ("initproc_ap returned");
}

void
ap_wait (void)
{
	u32 slept, left;

	for (slept = 0;; slept += ap_delays.poll_us) {
		spinlock_lock (&ap_lock);
		left = num_of_processors;
		spinlock_unlock (&ap_lock);
		if (left == *apinitprocs &&
		    left + 1 >= acpi_num_of_processors ())
			return;
		if (slept >= ap_delays.wait_us)
			vmm_ap_missing (ap_first_missing ());
		usleep (ap_delays.poll_us);
	}
}
