/* Multiboot Specification 0.6.96, section 3.3: what the boot loader tells.
 * For C and assembly.  All addresses in it are physical. */
#ifndef MULTIBOOT_H
#define MULTIBOOT_H

#define MULTIBOOT_HEADER_MAGIC	    0x1BADB002
#define MULTIBOOT_HEADER_PAGE_ALIGN 0x00000001
#define MULTIBOOT_HEADER_MEMORY	    0x00000002
#define MULTIBOOT_BOOTLOADER_MAGIC  0x2BADB002 /* in EAX at entry */

/* Bits of multiboot_info.flags: which fields are valid */
#define MULTIBOOT_INFO_MEMORY  0x00000001
#define MULTIBOOT_INFO_CMDLINE 0x00000004
#define MULTIBOOT_INFO_MODS    0x00000008
#define MULTIBOOT_INFO_MMAP    0x00000040

#define MULTIBOOT_MMAP_AVAILABLE 1

#ifndef __ASSEMBLER__
#include "types.h"

struct multiboot_info {
	u32 flags;
	u32 mem_lower; /* KiB from address 0 */
	u32 mem_upper; /* KiB from 1 MiB up to the first hole */
	u32 boot_device;
	u32 cmdline;
	u32 mods_count;
	u32 mods_addr;
	u32 syms[4];
	u32 mmap_length;
	u32 mmap_addr;
	u32 drives_length;
	u32 drives_addr;
	u32 config_table;
	u32 boot_loader_name;
	u32 apm_table;
	u32 vbe_control_info;
	u32 vbe_mode_info;
	u16 vbe_mode;
	u16 vbe_interface_seg;
	u16 vbe_interface_off;
	u16 vbe_interface_len;
};

_Static_assert (sizeof (struct multiboot_info) == 88, "Multiboot 3.3");

struct multiboot_module {
	u32 mod_start;
	u32 mod_end; /* first byte after it */
	u32 string;
	u32 reserved;
};

struct multiboot_mmap {
	u32 size; /* of what follows */
	u64 addr;
	u64 length;
	u32 type;
} __attribute__ ((packed));

extern struct multiboot_info mi; /* the VMM's own copy, see vmm_main */
extern bool uefi_booted;
#endif

#endif
