/* The barrier's lock is a queue (Mellor-Crummey and Scott, 1991): each CPU waits at a node on its
 * own stack, and the CPU before it in the queue writes there. */

#include "ap.h"
#include "asm.h"

struct node {
	struct node *volatile next;
	volatile bool wait;
};

static struct node *volatile tail;
static volatile u32 round, arrived;

static void
lock (struct node *me)
{
	struct node *before;

	me->next = NULL;
	me->wait = true;
	before = __atomic_exchange_n (&tail, me, __ATOMIC_SEQ_CST);
	if (!before)
		return;
	before->next = me;
	while (me->wait)
		asm_pause ();
}

static void
unlock (struct node *me)
{
	struct node *last = me;

	if (!me->next && __atomic_compare_exchange_n (&tail, &last, NULL, false, __ATOMIC_SEQ_CST,
						      __ATOMIC_SEQ_CST))
		return;
	while (!me->next)
		asm_pause ();
	me->next->wait = false;
}

void
sync_all_processors (void)
{
	struct node me;
	u32 mine;

	lock (&me);
	mine = round;
	if (++arrived == num_of_processors + 1) {
		arrived = 0;
		round = mine + 1;
	}
	unlock (&me);
	while (round == mine)
		asm_pause ();
}
