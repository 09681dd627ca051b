/* Two phases: the last one to come opens the door, and waits until everyone is out before it closes
 * it again and goes. */

#include "ap.h"
#include "asm.h"

static volatile u32 inside;
static volatile bool door_open;

static u32
change (u32 by)
{
	u32 now;

	spinlock_lock (&sync_lock);
	inside += by;
	now = inside;
	spinlock_unlock (&sync_lock);
	return now;
}

void
sync_all_processors (void)
{
	while (door_open) /* of the round before */
		asm_pause ();
	if (change (1) == num_of_processors + 1) {
		door_open = true;
		while (change (0) > 1)
			asm_pause ();
		change (-1);
		door_open = false;
		return;
	}
	while (!door_open)
		asm_pause ();
	change (-1);
}
