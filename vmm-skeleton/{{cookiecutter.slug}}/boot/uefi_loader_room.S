/* What the EFI loader carries: the VMM and a guest.  With HOLD there is room
 * instead, which is filled from outside, see boot/uefi_loader.c. */

	.data
	.balign	8
	.globl	uefi_box
uefi_box:
	.ascii	"vmmlab-uefi-box1"
#ifdef HOLD
	.quad	1				/* hold */
#else
	.quad	0
#endif
	.quad	0				/* vmm, filled in at run time */
#ifdef HOLD
	.quad	0				/* vmm_len, from outside */
#else
	.quad	vmm_end - vmm
#endif
	.quad	vmm_end - vmm			/* room_len */
	.quad	0				/* os, filled in at run time */
#ifdef HOLD
	.quad	0				/* os_len, from outside */
#else
	.quad	os_end - os
#endif
	.quad	os_end - os			/* os_room_len */

	.globl	vmm, os, os_options, os_options_end, os_initrd, os_initrd_end
#ifdef HOLD
	.bss
	.balign	4096
vmm:
	.skip	0x100000
vmm_end:
os:
	.skip	0x40000
os_end:
os_options:
os_options_end:
os_initrd:
os_initrd_end:
#else
	/* QEMU's -kernel takes a file for a multiboot kernel if it finds the
	 * header of one in the first 8 KiB: keep the VMM's away from there. */
	.skip	0x2000
	.balign	4096
vmm:
	.incbin	"vmm.elf32"
vmm_end:
	.balign	4096
os:
	.incbin	"os.efi"
os_end:
	.balign	2
os_options:
	.incbin	"os.options"
os_options_end:
os_initrd:
	.incbin	"os.initrd"
os_initrd_end:
#endif

	.section .note.GNU-stack, "", @progbits
