/* Numbers by an atomic addition, no ap_lock.  Each AP's stack waits for it under its APIC id. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"

static void *stack_by_id[NUM_OF_PCPU];

void
apinitproc0 (void)
{
	void **mine = &stack_by_id[apic_id ()];

	*mine = alloc (VMM_STACKSIZE);
	asm_wrrsp_and_jmp ((ulong)*mine + VMM_STACKSIZE, &apinitproc1);
}

void
apinitproc1 (void)
{
	spinlock_unlock (apinitlock);
	segment_init_ap (1 + __atomic_fetch_add (&num_of_processors, 1, __ATOMIC_ACQ_REL));
	currentcpu->stackaddr = stack_by_id[currentcpu->apic_id];
	initproc_ap ();
	panic ("no way");
}

void
ap_wait (void)
{
	const u32 expected = acpi_num_of_processors ();
	u32 patience = ap_delays.wait_us;

	for (;;) {
		u32 left = num_of_processors;

		if (left == *apinitprocs && left + 1 >= expected)
			return;
		if (patience < ap_delays.poll_us)
			vmm_ap_missing (ap_first_missing ());
		patience -= ap_delays.poll_us;
		usleep (ap_delays.poll_us);
	}
}
