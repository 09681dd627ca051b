/* lab4, another way: the wait is as long as the PM timer says; the pause between two checks is not
 * counted.  Without a timer the pauses are. */

#include "acpi.h"
#include "ap.h"
#include "asm.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"
#include "tracepoints.h"

static void *newstack;

asmlinkage void
apinitproc0 (void)
{
	newstack = alloc (VMM_STACKSIZE);
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, apinitproc1);
}

asmlinkage void
apinitproc1 (void)
{
	void *stack = newstack;
	int n;

	spinlock_unlock (apinitlock);
	spinlock_lock (&ap_lock);
	n = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (n);
	currentcpu->stackaddr = stack;
	initproc_ap ();
	panic ("initproc_ap returned");
}

void
ap_wait (void)
{
	u32 expected = acpi_num_of_processors ();
	u32 left, in, mask, last = 0, now;
	u64 ticks = 0, waited = 0;
	u16 port;
	bool timer = acpi_pm_timer (&port, &mask);

	if (timer)
		last = asm_inl (port);

	for (;;) {
		spinlock_lock (&ap_lock);
		left = num_of_processors;
		spinlock_unlock (&ap_lock);
		in = *apinitprocs;
		if (left == in && (!expected || left >= expected - 1))
			return;
		if (waited >= ap_delays.wait_us)
			vmm_ap_missing (ap_first_missing ());
		usleep (ap_delays.poll_us);
		if (timer) {
			now = asm_inl (port);
			ticks += (now - last) & mask;
			last = now;
			waited = ticks * 1000000 / 3579545;
		} else
			waited += ap_delays.poll_us;
	}
}
