/* A generation of one byte is enough: a CPU that waits is at most one round behind. */

#include "ap.h"
#include "asm.h"

static volatile u8 generation;

void
sync_all_processors (void)
{
	u8 mine;

	spinlock_lock (&sync_lock);
	mine = generation;
	if (++sync_count > num_of_processors) {
		sync_count = 0;
		generation++;
	}
	spinlock_unlock (&sync_lock);
	while (generation == mine)
		asm_pause ();
}
