/* Every CPU has a counter of its own.  The BSP waits for those of all APs, then raises its own;
 * the APs wait for the BSP's.  No lock, no locked instruction. */

#include "ap.h"
#include "asm.h"
#include "pcpu.h"

static volatile u32 round_of[NUM_OF_PCPU];

static void
wait_for (u32 cpu, u32 round)
{
	while ((int)(round_of[cpu] - round) < 0)
		asm_pause ();
}

void
sync_all_processors (void)
{
	u32 me = currentcpu->cpunum, i;
	u32 round = round_of[me] + 1;

	if (me) {
		round_of[me] = round;
		wait_for (0, round);
		return;
	}
	for (i = 1; i <= num_of_processors; i++)
		wait_for (i, round);
	round_of[0] = round;
}
