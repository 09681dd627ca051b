/* A generation of two bytes, compared as such; it begins again at 40000. */

#include "ap.h"
#include "asm.h"

static volatile u16 generation;

void
sync_all_processors (void)
{
	u16 mine;

	spinlock_lock (&sync_lock);
	mine = generation;
	if (++sync_count > num_of_processors) {
		sync_count = 0;
		generation = mine == 39999 ? 0 : mine + 1;
	}
	spinlock_unlock (&sync_lock);
	while (generation == mine)
		asm_pause ();
}
