/* Waits for the number of the next round: it stays until this CPU has called
 * again. */

#include "ap.h"
#include "asm.h"

void
sync_all_processors (void)
{
	u32 id;

	spinlock_lock (&sync_lock);
	id = sync_id;
	if (++sync_count == num_of_processors + 1) {
		sync_count = 0;
		sync_id = id + 1;
	}
	spinlock_unlock (&sync_lock);
	while (sync_id != id + 1)
		asm_pause ();
}
