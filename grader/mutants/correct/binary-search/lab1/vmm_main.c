/* The copy may wait until the records are in order: nothing has taken the map away by then. */

#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"

asmlinkage void
vmm_main (struct multiboot_info *mi_arg)
{
	uefi_booted = false;
	if (mi_arg == NULL)
		uefi_booted = true;
	initfunc_init ();
	if (mi_arg)
		mi = *mi_arg;
	call_initfunc ("global");
	start_all_processors (&bsp_proc, &ap_proc);
}
