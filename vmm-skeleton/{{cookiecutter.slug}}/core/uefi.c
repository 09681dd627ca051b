/* Functions that are needed only on machines with UEFI.  They are weak: a later
 * lab's take their place. */

#include "ap.h"
#include "panic.h"

/* Ask the firmware for memory below 1 MiB. */
__attribute__ ((weak)) u32
alloc_realmodemem (uint len)
{
	panic ("UEFI: cannot get %u bytes below 1 MiB yet (lab 6)", len);
}

/* Register start, to be called when the guest starts its APs. */
__attribute__ ((weak)) void
localapic_delayed_ap_start (void (*start) (void))
{
	(void)start;
	panic ("UEFI: cannot start the APs yet (planned: lab 10)");
}
