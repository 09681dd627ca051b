/* keeps everything in variables of its own, and the way back in none of the registers */
#include "layout.h"
#include "uefi.h"
#include "x86.h"
	.globl	uefi_call
	.code64
	.text
uefi_call:
	pushfq
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbp
	push	%rbx
	mov	%rsp, my_rsp
	sgdt	my_gdt
	sidt	my_idt
	mov	%cr3, %rax
	mov	%rax, my_cr3
	mov	%ds, my_sel
	mov	%es, my_sel+2
	mov	%ss, my_sel+4
	mov	%cs, my_sel+6
	mov	%rdi, my_fn
	mov	%rsi, %r10
	mov	%rcx, %r11
	mov	%r8, %r9
	mov	$ap_pagetable-VMM_BASE, %ecx
	mov	%rcx, %cr3
	lea	there-VMM_BASE, %rcx
	jmp	*%rcx
there:	mov	uefi_state+UEFI_STATE_CR3-VMM_BASE, %rcx
	mov	%rcx, %cr3
	lidt	uefi_state+UEFI_STATE_IDTR-VMM_BASE
	lgdt	uefi_state+UEFI_STATE_GDTR-VMM_BASE
	mov	uefi_state+UEFI_STATE_ES-VMM_BASE, %es
	mov	uefi_state+UEFI_STATE_DS-VMM_BASE, %ds
	mov	uefi_state+UEFI_STATE_SS-VMM_BASE, %ss
	mov	uefi_state+UEFI_STATE_RSP-VMM_BASE, %rsp
	sub	$256, %rsp
	and	$~63, %rsp
	movzwl	uefi_state+UEFI_STATE_CS-VMM_BASE, %ecx
	push	%rcx
	push	$in_firmware-VMM_BASE
	lretq
in_firmware:
	mov	%r10, %rcx
	mov	%r11, %r8
	sub	$64, %rsp
	call	*my_fn-VMM_BASE
	cli
	mov	$ap_pagetable-VMM_BASE, %edx
	mov	%rdx, %cr3
	mov	$back, %edx
	jmp	*%rdx
back:	mov	my_cr3, %rdx
	mov	%rdx, %cr3
	mov	my_rsp, %rsp
	lgdt	my_gdt
	lidt	my_idt
	mov	my_sel, %ds
	mov	my_sel+2, %es
	mov	my_sel+4, %ss
	movzwl	my_sel+6, %edx
	push	%rdx
	push	$last
	lretq
last:	pop	%rbx
	pop	%rbp
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	popfq
	ret
	.bss
	.balign	8
my_rsp:	.skip	8
my_cr3:	.skip	8
my_fn:	.skip	8
my_gdt:	.skip	16
my_idt:	.skip	16
my_sel:	.skip	8
	.section .note.GNU-stack, "", @progbits
