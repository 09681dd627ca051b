/* Nothing is ever put back: the number of arrivals since the beginning tells which round it is. */

#include "ap.h"

void
sync_all_processors (void)
{
	static u32 arrivals;
	u32 all = num_of_processors + 1;
	u32 before = __atomic_fetch_add (&arrivals, 1, __ATOMIC_SEQ_CST);
	u32 wanted = before - before % all + all;
	u32 spins = 0;

	while (__atomic_load_n (&arrivals, __ATOMIC_SEQ_CST) < wanted)
		if (++spins % 16)
			__builtin_ia32_pause ();
}
