/* A dissemination barrier (Hensgen, Finkel and Manber, 1988): in step k every CPU tells the one 2^k
 * further on that it has come, and waits to be told.  Nobody is the last one; a CPU that has come
 * early still has to pass on what it hears. */

#include "ap.h"
#include "asm.h"
#include "pcpu.h"

#define STEPS 9 /* 2^9 CPUs at most */

static struct {
	volatile u32 told[STEPS];
	volatile u32 round;
} of_cpu[NUM_OF_PCPU];

void
sync_all_processors (void)
{
	u32 me = currentcpu->cpunum, all, k;
	u32 round = ++of_cpu[me].round;

	while (!of_cpu[0].round) /* the BSP comes when all have been counted */
		asm_pause ();
	all = num_of_processors + 1;
	for (k = 0; 1u << k < all; k++) {
		of_cpu[(me + (1u << k)) % all].told[k] = round;
		while ((int)(of_cpu[me].told[k] - round) < 0)
			asm_pause ();
	}
}
