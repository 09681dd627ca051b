/* goes to the firmware by a far return from the bridge, and loads its page tables last */
#include "layout.h"
#include "uefi.h"
#include "x86.h"
	.globl	uefi_call
	.code64
	.text
uefi_call:
	push	%rbp
	mov	%rsp, %rbp
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%r8, %r15
	mov	%rcx, %r14
	mov	%rsi, %r13
	mov	%rdi, %r12
	mov	%cr3, %rbx
	sub	$40, %rsp
	sidt	(%rsp)
	sgdt	10(%rsp)
	mov	%rsp, %rsi
	mov	$ap_pagetable, %eax
	sub	$VMM_BASE, %rax
	mov	%rax, %cr3
	mov	uefi_state+UEFI_STATE_RSP, %rdi
	lgdt	uefi_state+UEFI_STATE_GDTR
	lidt	uefi_state+UEFI_STATE_IDTR
	movzwl	uefi_state+UEFI_STATE_CS, %eax
	movzwl	uefi_state+UEFI_STATE_SS, %ecx
	push	%rax
	lea	go(%rip), %rax
	sub	$VMM_BASE, %rax
	push	%rax
	mov	%ecx, %ss
	movzwl	uefi_state+UEFI_STATE_DS, %ecx
	mov	%ecx, %ds
	movzwl	uefi_state+UEFI_STATE_ES, %ecx
	mov	%ecx, %es
	lretq
go:	mov	uefi_state+UEFI_STATE_CR3(%rip), %rax
	mov	%rdi, %rsp
	and	$-32, %rsp
	mov	%rax, %cr3
	push	%rbp
	push	%rsi
	mov	%r13, %rcx
	mov	%r14, %r8
	mov	%r15, %r9
	sub	$32, %rsp
	call	*%r12
	cli
	mov	32(%rsp), %rsi
	mov	40(%rsp), %rbp
	mov	$ap_pagetable-VMM_BASE, %r8d
	mov	%r8, %cr3
	movabs	$home, %r9
	jmp	*%r9
home:	mov	%rsi, %rsp
	lgdt	10(%rsp)
	lidt	(%rsp)
	mov	%rbx, %cr3
	pushq	$SEL_CODE
	lea	1f(%rip), %r10
	push	%r10
	lretq
1:	mov	$SEL_DATA, %r10d
	mov	%r10d, %es
	mov	%r10d, %ds
	mov	%r10d, %ss
	lea	-40(%rbp), %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	leave
	ret
	.section .note.GNU-stack, "", @progbits
