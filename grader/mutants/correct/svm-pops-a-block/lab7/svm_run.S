/* lab7: into the guest, and out again. */

#include "svm.h"
#include "todo.h"

/* void asm_vmrun_regs_64 (struct svm_vmrun_regs *p, ulong vmcb_phys, ulong
 * vmcbhost_phys): run the guest until it exits.
 *
 * On entry: any CPU, several at the same time, called from C (psABI for x86-64:
 * p in RDI, vmcb_phys in RSI, vmcbhost_phys in RDX), interrupts off.  vmcb_phys
 * is the physical address of the guest's VMCB; vmcbhost_phys that of a page in
 * which VMSAVE may store state of the VMM.
 *
 * Must: run the guest once, with one VMRUN.  Before, its registers come from
 * *p, and FS, GS, TR, LDTR and the MSRs that VMLOAD loads from its VMCB.
 * Afterwards its registers are in *p, and what VMSAVE stores is in its VMCB.
 * VMRUN and #VMEXIT take care of RAX, RSP, RIP and RFLAGS of both sides, and of
 * the other segments; RAX is the address of a VMCB for VMRUN, VMLOAD and
 * VMSAVE.  Return with RSP, RBX, RBP and R12 to R15, and everything that VMLOAD
 * loads, as they were on entry, and with interrupts off.
 *
 * The global interrupt flag (GIF) is 0 from before the guest's state is loaded
 * to after the VMM's own is loaded again, and 1 on return: an NMI in between
 * would run the VMM's handler with the guest's GS. */
	.text
	.globl	asm_vmrun_regs_64
asm_vmrun_regs_64:

	.irp r, r15, r14, r13, r12, rbp, rbx
	push	%\r
	.endr
	clgi
	mov	%rdx, %rax
	vmsave
	mov	%rsp, %rbp
	push	%rdx			/* -8(%rbp): page of the VMM */
	push	%rdi			/* -16(%rbp): p */
	push	%rbp			/* -24(%rbp) */
	mov	%rsi, %rax

	/* The 14 registers, in the order of struct svm_vmrun_regs, become a
	 * block on the stack, from which they are popped. */
	mov	%rdi, %rsi
	sub	$14 * 8, %rsp
	mov	%rsp, %rdi
	mov	$14, %ecx
	cld
	rep movsq
	vmload
	.irp r, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	pop	%\r
	.endr
	vmrun
	.irp r, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx
	push	%\r
	.endr
	vmsave
	mov	14 * 8(%rsp), %rbp
	mov	-8(%rbp), %rax
	vmload
	mov	-16(%rbp), %rdi
	mov	%rsp, %rsi
	mov	$14, %ecx
	rep movsq
	mov	%rbp, %rsp
	.irp r, rbx, rbp, r12, r13, r14, r15
	pop	%\r
	.endr
	stgi
	ret

	.section .note.GNU-stack, "", @progbits
