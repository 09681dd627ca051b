/* lab1: where the VMM proper begins. */

#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"
#include "string.h"
#include "todo.h"

/* The first function of the VMM proper.  boot/entry.S calls it.
 *
 * On entry: the BSP only, on the boot stack, no lock held, interrupts off.
 * mi_arg is where the boot loader left the multiboot information.  That is a
 * physical address below 1 GiB, readable because the identity map is still
 * there (Multiboot 0.6.96, 3.3).  If it is NULL, there is none, and the machine
 * was booted by UEFI.  Nothing else says so: flags in the structure may be 0.
 *
 * Must: copy the whole structure to mi, and no more, while it can still be
 * read.  An init function of group "global" removes the identity map.  If
 * mi_arg is NULL, leave mi as it is.  Set uefi_booted in both cases, to whether
 * the machine was booted by UEFI.  When both are done, make three calls in this
 * order, each once.  Sort the init functions, call the group "global", start
 * all processors with bsp_proc and ap_proc.
 *
 * This function does not return, since start_all_processors does not. */
asmlinkage void
vmm_main (struct multiboot_info *mi_arg)
{
	uefi_booted = !mi_arg;
	if (!uefi_booted)
		memcpy (&mi, mi_arg, sizeof mi);

	initfunc_init ();
	call_initfunc ("global");
	start_all_processors (bsp_proc, ap_proc);
}
