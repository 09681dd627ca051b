/* The BSP looks only if it gets ap_lock at once; else it pauses first.  An AP
 * adds itself by one locked instruction. */

#include "acpi.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"
#include "tracepoints.h"

static void *newstack_tmp;

asmlinkage void
apinitproc0 (void)
{
	void *newstack;

	newstack = alloc (VMM_STACKSIZE);
	newstack_tmp = newstack;
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, apinitproc1);
}

asmlinkage void
apinitproc1 (void)
{
	void *newstack = newstack_tmp;
	u32 n = 1;

	spinlock_unlock (apinitlock);
	asm volatile("lock xaddl %0, %1"
		     : "+r"(n), "+m"(num_of_processors)
		     :
		     : "memory", "cc");
	n++;
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
	panic ("apinitproc1: initproc_ap came back");
}

/* Return whether every AP has left; false if ap_lock is not free. */
static bool
all_have_left (u32 expected)
{
	u32 left;

	if (!spinlock_trylock (&ap_lock))
		return false;
	left = num_of_processors;
	spinlock_unlock (&ap_lock);
	return *apinitprocs == left && left + 1 >= expected;
}

void
ap_wait (void)
{
	u32 expected = acpi_num_of_processors ();
	u32 rest = ap_delays.wait_us, part;

	while (!all_have_left (expected)) {
		if (!rest)
			vmm_ap_missing (ap_first_missing ());
		part = rest < ap_delays.poll_us ? rest : ap_delays.poll_us;
		usleep (part);
		rest -= part;
	}
}
