/* Each new stack has a note for its owner at its lowest address. */

#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"

struct note {
	struct note *self;
};

static struct note *volatile newest;

static void
release (void)
{
	apinitlock[7] = 0;
}

asmlinkage void
apinitproc0 (void)
{
	struct note *note = alloc (VMM_STACKSIZE);

	note->self = note;
	newest = note;
	asm_wrrsp_and_jmp ((ulong)note + VMM_STACKSIZE, apinitproc1);
}

asmlinkage void
apinitproc1 (void)
{
	struct note *note = newest->self;
	int number;

	asm volatile("" : "+r"(note) : : "memory");
	release ();
	asm volatile("" : : : "memory");
	spinlock_lock (&ap_lock);
	asm volatile("incl %0" : "+m"(num_of_processors));
	number = num_of_processors;
	spinlock_unlock (&ap_lock);
	segment_init_ap (number);
	currentcpu->stackaddr = note->self;
	for (;;) {
		initproc_ap ();
		panic ("initproc_ap came back on CPU %d", currentcpu->cpunum);
	}
}

void
ap_wait (void)
{
	for (u32 t = 0; t <= ap_delays.wait_us; t += ap_delays.poll_us) {
		u32 entered = *apinitprocs, left;

		spinlock_lock (&ap_lock);
		left = num_of_processors;
		spinlock_unlock (&ap_lock);
		if (entered == left && left + 1 >= acpi_num_of_processors ())
			return;
		usleep (ap_delays.poll_us);
	}
	vmm_ap_missing (ap_first_missing ());
}
