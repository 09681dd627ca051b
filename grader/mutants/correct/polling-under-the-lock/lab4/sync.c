/* Whoever waits takes the lock for each look. */

#include "ap.h"
#include "asm.h"

static u32
locked_read (const volatile u32 *p)
{
	u32 value;

	spinlock_lock (&sync_lock);
	value = *p;
	spinlock_unlock (&sync_lock);
	return value;
}

static u32
arrive (void)
{
	u32 round;

	spinlock_lock (&sync_lock);
	round = sync_id;
	sync_count++;
	if (sync_count > num_of_processors) {
		sync_id++;
		sync_count = 0;
	}
	spinlock_unlock (&sync_lock);
	return round;
}

void
sync_all_processors (void)
{
	u32 round = arrive ();

	while (locked_read (&sync_id) == round)
		for (int i = 0; i < 4; i++)
			asm_pause ();
}
