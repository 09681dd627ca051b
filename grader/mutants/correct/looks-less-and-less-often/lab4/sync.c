/* A waiting CPU looks at the round's number less and less often. */

#include "ap.h"
#include "asm.h"

void
sync_all_processors (void)
{
	volatile u32 pause;
	u32 between = 1;
	u32 id;

	spinlock_lock (&sync_lock);
	id = sync_id;
	if (++sync_count == num_of_processors + 1) {
		sync_count = 0;
		sync_id = id + 1;
	}
	spinlock_unlock (&sync_lock);
	while (sync_id == id) {
		for (pause = 0; pause < between; pause++)
			asm_pause ();
		if (between < 1024)
			between *= 2;
	}
}
