/* What the EFI loader passes to the VMM.  For C and assembly. */
#ifndef UEFI_H
#define UEFI_H

/* The loader finds the VMM's entry for UEFI by these 16 bytes in the image; the
 * entry's physical address follows them, 8 bytes. */
#define UEFI_ENTRY_MAGIC "vmmlab-uefi-0001"

#define UEFI_BOOT_LEN 48 /* sizeof (struct uefi_boot) */

#ifndef __ASSEMBLER__
#include "types.h"

/* All addresses are physical.  The firmware keeps an operating system away from
 * image and heap.  All zero if there is no UEFI. */
struct uefi_boot {
	u64 heap, heap_len;   /* for alloc, below 1 GiB */
	u64 allocate_pages;   /* EFI_BOOT_SERVICES.AllocatePages */
	u64 rsdp;	      /* of the ACPI tables, 0 if there are none */
	u64 image, image_len; /* where the VMM is */
};

_Static_assert(sizeof (struct uefi_boot) == UEFI_BOOT_LEN, "boot/uefi.S");
#endif

#endif
