/* Functions that are needed only on machines with UEFI.  Most are weak: a later
 * lab's take their place. */

#include "uefi.h"
#include "ap.h"
#include "panic.h"
#include "printf.h"
#include "svm.h"

struct uefi_boot uefi_boot; /* written by boot/uefi.S */

/* Ask the firmware for memory below 1 MiB. */
__attribute__ ((weak)) u32
alloc_realmodemem (uint len)
{
	panic ("UEFI: cannot get %u bytes below 1 MiB yet (lab 6)", len);
}

/* Return an address from addr on that the far jump can name. */
__attribute__ ((weak)) u32
align_apinit_addr (u32 addr)
{
	panic ("UEFI: cannot place the trampoline at 0x%x yet (lab 6)", addr);
}

/* The guest sends INIT or SIPI: start the APs, if they have not been started
 * yet. */
__attribute__ ((weak)) void
handle_ap_start (void)
{
}

/* Register start, to be called when the guest starts its APs.  Until then they
 * belong to the firmware, which would take them away again. */
__attribute__ ((weak)) void
localapic_delayed_ap_start (void (*start) (void))
{
	(void)start;
	printf ("UEFI: the APs stay with the firmware until a guest starts "
		"them (lab 10); only the BSP goes on\n");
}
