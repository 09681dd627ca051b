/* Says the number while it is being taken, as BitVisor does; what is handed over is a structure. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"
#include "sleep.h"

static volatile struct {
	u8 *base;
	ulong end;
} handed_over;

void
apinitproc0 (void)
{
	u8 *base = alloc (VMM_STACKSIZE);

	handed_over.base = base;
	handed_over.end = (ulong)(base + VMM_STACKSIZE);
	asm_wrrsp_and_jmp (handed_over.end, apinitproc1);
}

static int
take_a_number (void)
{
	int n;

	spinlock_lock (&ap_lock);
	n = num_of_processors + 1;
	printf ("AP %d is on its way\n", n);
	num_of_processors = n;
	spinlock_unlock (&ap_lock);
	return n;
}

void
apinitproc1 (void)
{
	void (*next) (void) = initproc_ap;
	u8 *base = handed_over.base;

	__atomic_store_n ((u64 *)apinitlock, 0, __ATOMIC_RELEASE);
	segment_init_ap (take_a_number ());
	currentcpu->stackaddr = base;
	next ();
	panic ("apinitproc1: %p came back", next);
}

static bool
tired (u32 *waited)
{
	if (*waited >= ap_delays.wait_us)
		return true;
	usleep (ap_delays.poll_us);
	*waited += ap_delays.poll_us;
	return false;
}

void
ap_wait (void)
{
	u32 expected = acpi_num_of_processors ();
	u32 waited = 0, left, entered;

	/* first: has everyone entered? */
	while (expected && *apinitprocs < expected - 1)
		if (tired (&waited))
			vmm_ap_missing (ap_first_missing ());
	/* then: have they left? */
	do {
		entered = *apinitprocs;
		spinlock_lock (&ap_lock);
		left = num_of_processors;
		spinlock_unlock (&ap_lock);
		if (left == entered)
			return;
	} while (!tired (&waited));
	vmm_ap_missing (ap_first_missing ());
}
