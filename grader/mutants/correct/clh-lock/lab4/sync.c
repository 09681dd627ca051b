/* The barrier's lock is a queue (Craig, 1993; Landin and Hagersten, 1994): each CPU waits at the
 * node of the CPU before it, and takes that node over when it leaves. */

#include "ap.h"
#include "asm.h"
#include "pcpu.h"

struct node {
	volatile bool busy;
};

static struct node nodes[NUM_OF_PCPU], first;
static struct node *volatile tail = &first;
static struct node *node_of[NUM_OF_PCPU];
static volatile u32 round, arrived;

void
sync_all_processors (void)
{
	u32 cpu = currentcpu->cpunum, mine;
	struct node *me = node_of[cpu] ? node_of[cpu] : &nodes[cpu], *before;

	me->busy = true;
	before = __atomic_exchange_n (&tail, me, __ATOMIC_SEQ_CST);
	while (before->busy)
		asm_pause ();
	mine = round;
	if (++arrived == num_of_processors + 1) {
		arrived = 0;
		round = mine + 1;
	}
	me->busy = false;
	node_of[cpu] = before;
	while (round == mine)
		asm_pause ();
}
