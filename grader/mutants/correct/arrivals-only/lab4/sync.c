/* Nothing is ever put back: the number of arrivals since the beginning tells which round it is. */

#include "ap.h"
#include "pcpu.h"

static volatile bool bsp_here;

void
sync_all_processors (void)
{
	static u32 arrivals;
	u32 all, before, wanted, spins = 0;

	if (currentcpu->cpunum == 0)
		bsp_here = true;
	while (!bsp_here) /* until then not all have been counted */
		__builtin_ia32_pause ();
	all = num_of_processors + 1;
	before = __atomic_fetch_add (&arrivals, 1, __ATOMIC_SEQ_CST);
	wanted = before - before % all + all;
	while (__atomic_load_n (&arrivals, __ATOMIC_SEQ_CST) < wanted)
		if (++spins % 16)
			__builtin_ia32_pause ();
}
