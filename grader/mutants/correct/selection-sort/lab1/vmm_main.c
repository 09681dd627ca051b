/* The copy is made byte by byte; who booted is decided afterwards. */

#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"
#include "types.h"

static void
start (void)
{
	initfunc_init ();
	call_initfunc ("global");
}

asmlinkage void
vmm_main (struct multiboot_info *mi_arg)
{
	const u8 *from = (const u8 *)mi_arg;
	u8 *to = (u8 *)&mi;

	if (from != NULL) {
		while (to < (u8 *)(&mi + 1))
			*to++ = *from++;
		uefi_booted = false;
	} else {
		uefi_booted = true;
	}
	start ();
	start_all_processors (bsp_proc, ap_proc);
}
