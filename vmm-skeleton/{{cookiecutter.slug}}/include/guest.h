/* Where a guest begins.  For C and assembly.  All addresses are physical, and
 * the guest begins in real mode. */
#ifndef GUEST_H
#define GUEST_H

#define GUEST_MBR	  0x7C00 /* where a BIOS loads the MBR */
#define GUEST_MAX_SIZE	  0x8000
#define GUEST_DATA	  0x9000 /* of guest/bios.S: its .bss */
#define GUEST_READ_MBR	  0x7A00 /* code that reads the MBR from the disk */
#define GUEST_WAIT_VECTOR 0x06	 /* page of the code in which the APs wait */

/* A guest that knows this VMM begins with this header. */
#define GUEST_MAGIC 0x74736775 /* "ugst" */

/* The page in which guest/efi_os.c notes how far it has come, and in which it
 * ends: a debugger knows where these are. */
#define GUEST_EFI_PAGE	 0x2000000
#define GUEST_EFI_DONE	 (GUEST_EFI_PAGE + 0x800)
#define GUEST_EFI_FAILED (GUEST_EFI_PAGE + 0x880)
#define GUEST_EFI_MAGIC	 0x67696665 /* "efig" */

#ifndef __ASSEMBLER__
#include "types.h"

struct guest_header {
	u8 jump[4]; /* a jump over the header */
	u32 magic;
	u16 cpus;     /* written by the VMM: processors, including the BSP */
	u8 ap_vector; /* page where the guests of the APs begin */
	u8 end;
};

_Static_assert(sizeof (struct guest_header) == 12, "guest/bios.S");
#endif

#endif
