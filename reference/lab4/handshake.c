/* lab4: the APs come in one by one, the BSP waits for all. */

#include "acpi.h"
#include "anchors.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"
#include "todo.h"

/* BEGIN SOLUTION lab4.2
 * TODO(lab4.2): what apinitproc0 leaves to apinitproc1 may stand here.
 * STARTER:
 */
static void *newstack_tmp; /* guarded by *apinitlock */
/* END SOLUTION */

/* The first C function of an AP.
 *
 * On entry: an AP, on the shared boot stack, *apinitlock held by this CPU.  No
 * per-CPU data and no IDT yet: currentcpu must not be used.
 *
 * Must: allocate a stack of VMM_STACKSIZE bytes for this CPU and enter
 * apinitproc1 at its end, the lock still held.  Nothing on the boot stack is
 * of use afterwards; what apinitproc1 must know is left elsewhere. */
asmlinkage void
apinitproc0 (void)
{
	/* BEGIN SOLUTION lab4.2
	 * TODO(lab4.2): allocate the stack, leave its address where
	 * apinitproc1 finds it, go there.
	 */
	void *newstack;

	newstack = alloc (VMM_STACKSIZE);
	newstack_tmp = newstack;
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, apinitproc1);
	/* END SOLUTION */
}

/* An AP on its own stack.
 *
 * On entry: an AP, RSP at the end of the stack from apinitproc0, *apinitlock
 * held by this CPU.  Still no per-CPU data and no IDT.
 *
 * Must: unlock *apinitlock, when all that it guards has been read.  Add one to
 * num_of_processors with ap_lock held: the result is this CPU's number, 1 for
 * the first to come.  The BSP goes on as soon as the last AP has done that, and
 * then the trampoline with *apinitlock is gone.  Call segment_init_ap with the
 * number, without any lock, then set currentcpu->stackaddr and call
 * initproc_ap, which does not return. */
asmlinkage void
apinitproc1 (void)
{
	/* BEGIN SOLUTION lab4.3
	 * TODO(lab4.3): unlock, take a number, set up this CPU, call
	 * initproc_ap; panic if it comes back.
	 */
	void *newstack = newstack_tmp;
	int n;

	spinlock_unlock (apinitlock);
	spinlock_lock (&ap_lock);
	n = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (n);
	currentcpu->stackaddr = newstack;
	initproc_ap ();
	panic ("apinitproc1: initproc_ap came back");
	/* END SOLUTION */
}

/* Comes back when all APs have left the trampoline and the boot stack.
 *
 * On entry: the BSP, on its own stack, no lock held; all SIPIs have been sent.
 * APs may be late by seconds.
 *
 * Must: return when as many APs have left the boot stack (num_of_processors,
 * guarded by ap_lock) as have entered the trampoline (*apinitprocs), and all
 * processors that the ACPI tables name have come; the BSP is one of them.  If
 * the tables say nothing (acpi.h), the first will do.  Look every
 * ap_delays.poll_us, not longer than ap_delays.wait_us in all: then call
 * vmm_ap_missing with the APIC id of a processor that has not come
 * (ap_first_missing). */
void
ap_wait (void)
{
	/* BEGIN SOLUTION lab4.4
	 * TODO(lab4.4): wait until everyone has come, or for too long.
	 */
	u32 expected = acpi_num_of_processors ();
	u32 waited = 0;
	u32 left;

	for (;;) {
		spinlock_lock (&ap_lock);
		left = num_of_processors;
		spinlock_unlock (&ap_lock);
		if (*apinitprocs == left && left + 1 >= expected)
			break;
		if (waited >= ap_delays.wait_us)
			vmm_ap_missing (ap_first_missing ());
		usleep (ap_delays.poll_us);
		waited += ap_delays.poll_us;
	}
	/* END SOLUTION */
}
