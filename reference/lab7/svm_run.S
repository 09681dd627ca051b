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
	/* BEGIN SOLUTION lab7.5
	 * TODO(lab7.5):
	 * STARTER: VMM_TODO64 (lab7_5)
	 */
	push	%rbx			/* psABI: belong to the caller */
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	push	%rdx			/* vmcbhost_phys */
	push	%rsi			/* vmcb_phys */
	push	%rdi			/* p */

	clgi				/* no NMI from here on */
	mov	%rdx, %rax
	vmsave				/* the VMM's FS, GS, TR, LDTR, MSRs */
	mov	%rsi, %rax
	vmload				/* the guest's */

	mov	SVM_REGS_RBX(%rdi), %rbx
	mov	SVM_REGS_RCX(%rdi), %rcx
	mov	SVM_REGS_RDX(%rdi), %rdx
	mov	SVM_REGS_RSI(%rdi), %rsi
	mov	SVM_REGS_RBP(%rdi), %rbp
	mov	SVM_REGS_R8(%rdi), %r8
	mov	SVM_REGS_R9(%rdi), %r9
	mov	SVM_REGS_R10(%rdi), %r10
	mov	SVM_REGS_R11(%rdi), %r11
	mov	SVM_REGS_R12(%rdi), %r12
	mov	SVM_REGS_R13(%rdi), %r13
	mov	SVM_REGS_R14(%rdi), %r14
	mov	SVM_REGS_R15(%rdi), %r15
	mov	SVM_REGS_RDI(%rdi), %rdi	/* last: it was the pointer */

	/* #VMEXIT comes back to the next instruction.  RAX is then what it is
	 * here, the guest's VMCB, and RSP is the VMM's. */
	vmrun

	vmsave				/* the guest's FS, GS, TR, LDTR, MSRs */
	xchg	%rdi, (%rsp)		/* p; the guest's RDI is on the stack */
	mov	%rbx, SVM_REGS_RBX(%rdi)
	mov	%rcx, SVM_REGS_RCX(%rdi)
	mov	%rdx, SVM_REGS_RDX(%rdi)
	mov	%rsi, SVM_REGS_RSI(%rdi)
	mov	%rbp, SVM_REGS_RBP(%rdi)
	mov	%r8, SVM_REGS_R8(%rdi)
	mov	%r9, SVM_REGS_R9(%rdi)
	mov	%r10, SVM_REGS_R10(%rdi)
	mov	%r11, SVM_REGS_R11(%rdi)
	mov	%r12, SVM_REGS_R12(%rdi)
	mov	%r13, SVM_REGS_R13(%rdi)
	mov	%r14, SVM_REGS_R14(%rdi)
	mov	%r15, SVM_REGS_R15(%rdi)
	pop	SVM_REGS_RDI(%rdi)

	pop	%rsi			/* vmcb_phys */
	pop	%rax			/* vmcbhost_phys */
	vmload				/* the VMM's own state */
	stgi				/* an NMI that has waited comes here */
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	/* END SOLUTION */

	.section .note.GNU-stack, "", @progbits
