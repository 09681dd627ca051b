/* The VMM under UEFI: what the EFI loader passes to it, and the firmware's
 * state while the VMM runs.  For C and assembly. */
#ifndef UEFI_H
#define UEFI_H

/* The loader finds the VMM's entry for UEFI by these 16 bytes in the image; the
 * entry's physical address follows them, 8 bytes. */
#define UEFI_ENTRY_MAGIC "vmmlab-uefi-0001"

#define UEFI_BOOT_LEN 56 /* sizeof (struct uefi_boot) */

/* Offsets in struct uefi_state. */
#define UEFI_STATE_RSP	   0
#define UEFI_STATE_CR0	   8
#define UEFI_STATE_CR3	   16
#define UEFI_STATE_CR4	   24
#define UEFI_STATE_EFER	   32
#define UEFI_STATE_FS_BASE 40
#define UEFI_STATE_GS_BASE 48
#define UEFI_STATE_GDTR	   56
#define UEFI_STATE_IDTR	   66
#define UEFI_STATE_CS	   76
#define UEFI_STATE_SS	   78
#define UEFI_STATE_DS	   80
#define UEFI_STATE_ES	   82
#define UEFI_STATE_FS	   84
#define UEFI_STATE_GS	   86

#ifndef __ASSEMBLER__
#include "linkage.h"
#include "types.h"

/* All addresses are physical.  The firmware keeps an operating system away from
 * image and heap.  All zero if there is no UEFI. */
extern struct uefi_boot {
	u64 heap, heap_len;   /* for alloc, below 1 GiB */
	u64 allocate_pages;   /* EFI_BOOT_SERVICES.AllocatePages */
	u64 rsdp;	      /* of the ACPI tables, 0 if there are none */
	u64 image, image_len; /* where the VMM is */
	u64 locate_protocol;  /* EFI_BOOT_SERVICES.LocateProtocol */
} uefi_boot;

_Static_assert(sizeof (struct uefi_boot) == UEFI_BOOT_LEN, "boot/uefi.S");

/* The firmware's state at uefi_entry.  Its page tables map physical memory at
 * the same virtual addresses, and its functions run on its stack, of which the
 * VMM leaves everything from rsp on as it is. */
extern struct uefi_state {
	u64 rsp, cr0, cr3, cr4, efer, fs_base, gs_base;
	u16 gdtr_limit;
	u64 gdtr_base;
	u16 idtr_limit;
	u64 idtr_base;
	u16 cs, ss, ds, es, fs, gs;
} __attribute__ ((packed)) uefi_state;

_Static_assert(offsetof (struct uefi_state, gdtr_limit) == UEFI_STATE_GDTR,
	       "boot/uefi.S");
_Static_assert(offsetof (struct uefi_state, gs) == UEFI_STATE_GS,
	       "boot/uefi.S");

/* What uefi_entry has left at uefi_state.rsp: registers that a function must
 * preserve under Microsoft's convention, and the address that it returns to. */
struct uefi_frame {
	u64 rflags, r15, r14, r13, r12, rsi, rdi, rbp, rbx, rip;
};

/* lab6 */
asmlinkage u64 uefi_call (u64 function, u64 a, u64 b, u64 c, u64 d);
#endif

#endif
