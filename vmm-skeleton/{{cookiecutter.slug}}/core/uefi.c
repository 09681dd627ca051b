/* Functions that are needed only on machines with UEFI.  Planned: lab5. */

#include "ap.h"
#include "panic.h"

/* Ask the firmware for memory below 1 MiB. */
u32
alloc_realmodemem (uint len)
{
	panic ("UEFI: cannot get %u bytes below 1 MiB yet (planned: lab5)",
	       len);
}

/* Register start, to be called when the guest starts its APs. */
void
localapic_delayed_ap_start (void (*start) (void))
{
	(void)start;
	panic ("UEFI: cannot start the APs yet (planned: lab5)");
}
