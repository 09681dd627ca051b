/* A barrier in two halves, without a number of the round: all arrive, then all
 * leave.  No CPU can come to the next round before the last one has left. */

#include "ap.h"
#include "asm.h"

static volatile u32 arrived, leaving;

void
sync_all_processors (void)
{
	spinlock_lock (&sync_lock);
	arrived++;
	spinlock_unlock (&sync_lock);
	while (arrived < num_of_processors + 1)
		asm_pause ();
	spinlock_lock (&sync_lock);
	if (++leaving == num_of_processors + 1) {
		leaving = 0;
		arrived = 0;
	}
	spinlock_unlock (&sync_lock);
	while (leaving)
		asm_pause ();
}
