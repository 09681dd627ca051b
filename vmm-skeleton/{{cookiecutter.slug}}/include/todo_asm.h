/* The assembly macros of todo.h.
 *
 * The code that they share is in boot/todo.S.  The macros themselves cannot be
 * there, since the assembler expands a macro in the file that uses it.  The
 * code for real mode cannot be there either: a real-mode segment ends 64 KiB
 * above its base, so an AP can execute and read what is in the trampoline's
 * copy, but not the image, which is above 1 MiB. */
#ifndef TODO_ASM_H
#define TODO_ASM_H

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define TODO_STACK_SIZE 2048

/* clang-format off */
#define VMM_TODO16(id) vmm_todo16 id, __FILE__, __LINE__
#define VMM_TODO32(id) vmm_todo32 id, __FILE__, __LINE__
#define VMM_TODO64(id) vmm_todo64 id, __FILE__, __LINE__
#define VMM_TODO_UEFI(id) vmm_todo_uefi id, __FILE__, __LINE__

/* The name of a step: lab3_5 becomes the text lab3.5. */
	.macro	todo_name id
	.irpc	char, \id
	.ifc	\char, _
	.ascii	"."
	.else
	.ascii	"\char"
	.endif
	.endr
	.endm

	.macro	todo_text id, file, line
	.ascii	"TODO("
	todo_name \id
	.asciz	") in \file:\line: write what the comment there says.\r\n"
	.endm

/* Send the text at seg:reg to COM1, by polling. */
	.macro	todo_send seg, reg
1:	mov	$COM1_LSR, %dx
2:	inb	%dx, %al
	test	$COM1_LSR_THRE, %al
	jz	2b
	mov	%\seg:(%\reg), %al
	test	%al, %al
	jz	3f
	mov	$COM1, %dx
	outb	%al, %dx
	inc	%\reg
	jmp	1b
3:
	.endm

/* The copy begins at CS:APINIT_OFFSET.  The text and the flag are in the copy
 * too, behind the code. */
	.macro	vmm_todo16 id, file, line
	cli
	lock btsw $0, %cs:.Lsaid_\id - cpuinit_start + APINIT_OFFSET
	jc	todo_\id
	mov	$.Ltext_\id - cpuinit_start + APINIT_OFFSET, %si
	todo_send cs, si
todo_\id:
	hlt
	jmp	todo_\id
	.balign	2
.Lsaid_\id:
	.word	0			/* bit 0: printed */
.Ltext_\id:
	todo_text \id, "\file", \line
	.endm

/* Paging is off, so all addresses are physical.  todo32 jumps back to EBX: the
 * CPU is to stop in the student's file. */
	.macro	vmm_todo32 id, file, line
	mov	%cs:apinit_addr - VMM_BASE, %ebx
	add	$todo_\id - cpuinit_start, %ebx
	mov	$.Lsaid_\id - VMM_BASE, %ecx
	mov	$.Ltext_\id - VMM_BASE, %esi
	mov	$todo32 - VMM_BASE, %eax
	jmp	*%eax
todo_\id:
	hlt
	jmp	todo_\id

	.pushsection .data
	.balign	4
.Lsaid_\id:
	.long	0			/* bit 0: printed */
.Ltext_\id:
	todo_text \id, "\file", \line
	.popsection
	.endm

/* todo64 calls vmm_todo with these arguments, or jumps back to EBX. */
	.macro	vmm_todo64 id, file, line
	mov	$todo_\id, %ebx
	mov	$.Lstack_\id, %ebp
#ifdef __x86_64__
	mov	$.Lname_\id, %edi
	mov	$.Lfile_\id, %esi
	mov	$\line, %edx
#else
	mov	$.Lname_\id, %eax
	mov	$.Lfile_\id, %edx
	mov	$\line, %ecx
#endif
	jmp	todo64
todo_\id:
	hlt
	jmp	todo_\id

	.pushsection .rodata
.Lname_\id:
	todo_name \id
	.asciz	""
.Lfile_\id:
	.asciz	"\file"
	.popsection
	.pushsection .bss
	.balign	16
	.skip	TODO_STACK_SIZE
.Lstack_\id:
	.skip	16			/* bit 0: this stack is in use */
	.popsection
	.endm

/* The firmware's page tables do not map the VMM where it is linked; those of
 * the APs do, and also this code at its physical address. */
	.macro	vmm_todo_uefi id, file, line
	cli
	mov	$ap_pagetable - VMM_BASE, %eax
	mov	%rax, %cr3
	mov	$.Lalias_\id, %eax
	jmp	*%rax
.Lalias_\id:
	vmm_todo64 \id, "\file", \line
	.endm
/* clang-format on */

#endif
