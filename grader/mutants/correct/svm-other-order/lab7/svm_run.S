/* lab7: the registers in another order, with p in R15. */

#include "svm.h"

#define GET(name, register) mov SVM_REGS_##name(%r15), %register
#define PUT(name, register) mov %register, SVM_REGS_##name(%r15)
#define EACH(what) \
	what (R14, r14); what (R13, r13); what (R12, r12); what (R11, r11); \
	what (R10, r10); what (R9, r9); what (R8, r8); what (RDI, rdi); \
	what (RSI, rsi); what (RBP, rbp); what (RBX, rbx); what (RDX, rdx); \
	what (RCX, rcx)

	.text
	.globl	asm_vmrun_regs_64
asm_vmrun_regs_64:
	clgi
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rbp
	sub	$24, %rsp
	mov	%rdi, 16(%rsp)
	mov	%rdx, 8(%rsp)
	mov	%rdi, %r15
	mov	%rdx, %rax
	vmsave	%rax
	mov	%rsi, %rax
	EACH (GET)
	mov	SVM_REGS_R15(%r15), %r15
	vmload	%rax
	vmrun	%rax
	mov	%r15, (%rsp)
	mov	16(%rsp), %r15
	EACH (PUT)
	pop	SVM_REGS_R15(%r15)
	vmsave	%rax
	pop	%rax
	vmload	%rax
	add	$8, %rsp
	pop	%rbp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	stgi
	ret

	.section .note.GNU-stack, "", @progbits
