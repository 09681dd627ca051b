/* An AP counts itself while it still has the lock of the boot stack, so that ap_lock would not be
 * needed.  It releases that lock by the alias, which nobody unmaps.  The BSP looks at the clock
 * itself. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "asm.h"
#include "cohort.h"
#include "layout.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"

static void *stack_of[NUM_OF_PCPU];

asmlinkage void
apinitproc0 (void)
{
	u8 *stack = alloc (VMM_STACKSIZE);

	stack_of[num_of_processors + 1] = stack;
	asm_wrrsp_and_jmp ((ulong)&stack[VMM_STACKSIZE], apinitproc1);
}

asmlinkage void
apinitproc1 (void)
{
	ulong lock = (ulong)VMM_BASE + apinit_addr + (apinit_lock - cpuinit_start);
	int me;

	spinlock_lock (&ap_lock);
	me = ++num_of_processors;
	spinlock_unlock (&ap_lock);
	spinlock_unlock ((spinlock_t *)lock);
	segment_init_ap (me);
	currentcpu->stackaddr = stack_of[me];
	initproc_ap ();
	panic ("initproc_ap");
}

static bool
all_here (u32 expected)
{
	u32 left;

	spinlock_lock (&ap_lock);
	left = num_of_processors;
	spinlock_unlock (&ap_lock);
	return *apinitprocs == left && (expected == 0 || left >= expected - 1);
}

/* Waits without usleep: the timer is read at each look. */
void
ap_wait (void)
{
	u32 expected = acpi_num_of_processors (), mask, last, now;
	u32 slept = 0;
	u64 ticks = 0, end = (u64)ap_delays.wait_us * 3579545 / 1000000;
	u16 port;

	if (!acpi_pm_timer (&port, &mask)) {
		for (; !all_here (expected); slept += ap_delays.poll_us) {
			if (slept >= ap_delays.wait_us)
				vmm_ap_missing (ap_first_missing ());
			usleep (ap_delays.poll_us);
		}
		return;
	}
	for (last = asm_inl (port); !all_here (expected); last = now) {
		asm_pause ();
		now = asm_inl (port);
		ticks += (now - last) & mask;
		if (ticks >= end)
			vmm_ap_missing (ap_first_missing ());
	}
}
