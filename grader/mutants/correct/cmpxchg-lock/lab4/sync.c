/* No lock at all: one word holds the round and how many have come to it. */

#include "ap.h"
#include "asm.h"

#define ROUND 0x10000u

static u32 word; /* round * ROUND + count */

void
sync_all_processors (void)
{
	u32 old = __atomic_load_n (&word, __ATOMIC_ACQUIRE), new;

	do {
		new = old + 1;
		if (new % ROUND == num_of_processors + 1)
			new = (new / ROUND + 1) * ROUND;
	} while (!__atomic_compare_exchange_n (&word, &old, new, false, __ATOMIC_ACQ_REL,
					       __ATOMIC_ACQUIRE));
	while (__atomic_load_n (&word, __ATOMIC_ACQUIRE) / ROUND == old / ROUND)
		asm_pause ();
}
