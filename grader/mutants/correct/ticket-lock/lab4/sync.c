/* Atomic operations of the compiler only, on variables of its own. */

#include "ap.h"
#include "asm.h"

static u32 come, round;

void
sync_all_processors (void)
{
	u32 mine = __atomic_load_n (&round, __ATOMIC_ACQUIRE);
	u32 nth = __atomic_add_fetch (&come, 1, __ATOMIC_ACQ_REL);

	/* looked at after counting: an AP may be here before others have a number */
	if (nth == num_of_processors + 1) {
		__atomic_store_n (&come, 0, __ATOMIC_RELAXED);
		__atomic_add_fetch (&round, 1, __ATOMIC_RELEASE);
		return;
	}
	while (__atomic_load_n (&round, __ATOMIC_ACQUIRE) == mine)
		asm_pause ();
}
