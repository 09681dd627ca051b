/* A sense-reversing barrier: the last one turns the flag over, the others wait until it is no
 * longer as they found it. */

#include "ap.h"
#include "asm.h"

static volatile bool flag;
static volatile u32 waiting;

void
sync_all_processors (void)
{
	bool found;

	spinlock_lock (&sync_lock);
	found = flag;
	if (waiting++ == num_of_processors) {
		waiting = 0;
		flag = !found;
		spinlock_unlock (&sync_lock);
		return;
	}
	spinlock_unlock (&sync_lock);
	while (flag == found)
		asm_pause ();
}
