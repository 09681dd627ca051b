/* Code that runs in the guest before anything of the guest's own does.  The VMM
 * copies it into low memory; it works wherever that is. */

#include "guest.h"

	.section .rodata
	.code16

/* The guest of an AP: nothing to do. */
	.globl	guest_wait, guest_wait_end
guest_wait:
	cli
1:	hlt
	jmp	1b
guest_wait_end:

/* The guest of the BSP, if it is to boot from the disk: let the BIOS read the
 * MBR to 0:7C00, and go there.  DL is the drive. */
	.globl	guest_read_mbr, guest_read_mbr_end
guest_read_mbr:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$GUEST_READ_MBR, %sp
	sti
	mov	$0x0201, %ax		/* read one sector */
	mov	$0x0001, %cx		/* cylinder 0, sector 1 */
	mov	$0x00, %dh		/* head 0 */
	mov	$GUEST_MBR, %bx
	int	$0x13
	jc	2f
	ljmp	$0, $GUEST_MBR
2:	cli				/* no disk */
3:	hlt
	jmp	3b
guest_read_mbr_end:

	.section .note.GNU-stack, "", @progbits
