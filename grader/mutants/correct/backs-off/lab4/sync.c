/* Between two looks at sync_id a CPU counts to a number that grows from look to look. */

#include "ap.h"
#include "asm.h"

void
sync_all_processors (void)
{
	u32 id, delay = 16;

	spinlock_lock (&sync_lock);
	id = sync_id;
	if (++sync_count == num_of_processors + 1) {
		sync_count = 0;
		sync_id = id + 1;
	}
	spinlock_unlock (&sync_lock);
	while (sync_id == id) {
		for (volatile u32 i = 0; i < delay; i++)
			asm_pause ();
		if (delay < 4096)
			delay *= 2;
	}
}
