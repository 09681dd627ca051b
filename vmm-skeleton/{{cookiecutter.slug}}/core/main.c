/* What each CPU does once it is up. */

#include "anchors.h"
#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"
#include "pcpu.h"
#include "printf.h"

#define NUM_OF_PARALLEL 4
#define NUM_OF_ROUNDS	3

struct multiboot_info mi;
bool uefi_booted;

static const char *const parallel_id[NUM_OF_PARALLEL] = {
	"paral0",
	"paral1",
	"paral2",
	"paral3",
};
static spinlock_t parallel_lock;
static uint parallel_next; /* guarded by parallel_lock */

/* The groups paral0 to paral3 may run beside each other: whichever CPU is
 * first takes the next one, until none is left. */
static void
call_parallel (void)
{
	uint mine;

	for (;;) {
		spinlock_lock (&parallel_lock);
		mine = parallel_next;
		if (mine < NUM_OF_PARALLEL)
			parallel_next++;
		spinlock_unlock (&parallel_lock);
		if (mine >= NUM_OF_PARALLEL)
			break;
		call_initfunc (parallel_id[mine]);
	}
}

static noreturn void
work_together (void)
{
	u32 round;

	call_parallel ();	/* paral0-3: who comes first */
	call_initfunc ("pcpu"); /* each CPU */
	for (round = 1; round <= NUM_OF_ROUNDS; round++) {
		sync_all_processors (); /* nobody is ahead */
		vmm_synced (round);
	}
	vmm_parked (); /* planned, lab6: a guest */
}

/* The BSP, on its own stack; all APs run. */
void
bsp_proc (void)
{
	call_initfunc ("bsp");
	work_together ();
}

/* An AP, on its own stack; others may still be on their way. */
void
ap_proc (void)
{
	printf ("Processor %d (AP)\n", currentcpu->cpunum);
	call_initfunc ("ap");
	work_together ();
}

static void
banner (void)
{
	printf ("vmmlab VMM, cohort %s\n", VMM_COHORT);
}

INITFUNC ("global0", banner);
