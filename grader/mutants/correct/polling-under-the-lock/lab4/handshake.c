/* The next AP may come in only when this one can count itself: ap_lock is taken before the other
 * lock is given back.  The BSP looks at least once after the last pause. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"

static ulong top_of_new_stack;

void
apinitproc0 (void)
{
	void (*volatile next) (void) = apinitproc1;

	top_of_new_stack = (ulong)alloc (VMM_STACKSIZE) + VMM_STACKSIZE;
	asm_wrrsp_and_jmp (top_of_new_stack, next);
}

void
apinitproc1 (void)
{
	ulong top = top_of_new_stack;
	int number;

	spinlock_lock (&ap_lock);
	spinlock_unlock (apinitlock);
	number = __atomic_add_fetch (&num_of_processors, 1, __ATOMIC_SEQ_CST);
	spinlock_unlock (&ap_lock);
	segment_init_ap (number);
	currentcpu->stackaddr = (void *)(top - VMM_STACKSIZE);
	initproc_ap ();
	panic ("initproc_ap");
}

static bool
complete (void)
{
	u32 all = acpi_num_of_processors ();
	bool yes;

	spinlock_lock (&ap_lock);
	yes = num_of_processors == *apinitprocs && (!all || num_of_processors + 1 >= all);
	spinlock_unlock (&ap_lock);
	return yes;
}

void
ap_wait (void)
{
	u32 left = ap_delays.wait_us;

	while (!complete ()) {
		u32 pause = left < ap_delays.poll_us ? left : ap_delays.poll_us;

		if (pause == 0)
			vmm_ap_missing (ap_first_missing ());
		usleep (pause);
		left -= pause;
	}
}
