/* The ticket again: whoever comes draws a number; a round is over when all of it have been drawn. */

#include "ap.h"
#include "asm.h"

static volatile u32 drawn;

void
sync_all_processors (void)
{
	u32 n = num_of_processors + 1;
	u32 mine = __atomic_fetch_add (&drawn, 1, __ATOMIC_SEQ_CST);
	u32 goal = (mine / n + 1) * n;

	while ((int)(drawn - goal) < 0)
		asm_pause ();
}
