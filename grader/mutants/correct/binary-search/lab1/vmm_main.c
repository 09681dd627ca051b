/* The structure is assigned, and uefi_booted is set twice. */

#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"

asmlinkage void
vmm_main (struct multiboot_info *mi_arg)
{
	uefi_booted = false;
	if (mi_arg == NULL)
		uefi_booted = true;
	if (mi_arg)
		mi = *mi_arg;
	initfunc_init ();
	call_initfunc ("global");
	start_all_processors (&bsp_proc, &ap_proc);
}
