/* The way of a test guest from real mode to 64-bit mode.  For assembly. */
#ifndef GUEST_ASM_H
#define GUEST_ASM_H

#include "x86.h"

/* clang-format off */

/* Clear the bytes from tables on, and make page tables there: identity, 1 GiB
 * from 0 and from 3 GiB on.  ES is then the segment of the tables. */
.macro	identity_tables tables, bytes
	mov	$(\tables) >> 4, %ax
	mov	%ax, %es
	xor	%di, %di
	xor	%eax, %eax
	mov	$(\bytes) / 4, %cx
	rep stosl
	movl	$(\tables + 0x1000) | 7, %es:0
	movl	$(\tables + 0x2000) | 7, %es:0x1000
	movl	$(\tables + 0x3000) | 7, %es:0x1018
	mov	$0x83, %eax
	mov	$0xC0000083, %edx
	xor	%di, %di
1:	mov	%eax, %es:0x2000(%di)
	mov	%edx, %es:0x3000(%di)
	add	$0x200000, %eax
	add	$0x200000, %edx
	add	$8, %di
	cmp	$0x1000, %di
	jb	1b
.endm

/* Load gdtr and idtr, and go on in 64-bit mode at long_mode. */
.macro	enter_long_mode tables, selector, cr0
	lgdtl	gdtr
	lidtl	idtr
	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$(\tables), %eax
	mov	%eax, %cr3
	mov	$MSR_EFER, %ecx
	mov	$EFER_LME, %eax
	xor	%edx, %edx
	wrmsr
	mov	$(\cr0), %eax
	mov	%eax, %cr0
	ljmpl	$(\selector), $long_mode
.endm
/* clang-format on */

#endif
