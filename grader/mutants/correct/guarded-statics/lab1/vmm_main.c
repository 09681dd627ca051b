/* lab1: where the VMM proper begins. */

#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"
#include "string.h"

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
