/* The code that the IDT points to.  It brings all exceptions into one shape,
 * struct exception_frame, and never returns. */

#include "exception.h"

	.text

/* SDM table 6-1, APM 8.2: for these vectors the CPU pushes an error code. */
#define HAS_ERROR_CODE \
	(1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | \
	 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30)

/* One stub for each vector: the CPU does not tell which one it is.  All stubs
 * have the same size, so that exception_init can compute their addresses.
 * Vector 2 is the NMI, which is no exception and has no error code. */
	.globl	exception_stubs
	.balign	EXCEPTION_STUB_SIZE
exception_stubs:
	.set	vector, 0
	.rept	NUM_OF_EXCEPTIONS
	.if	vector == NMI
	jmp	nmi_entry
	.else
	.if	(HAS_ERROR_CODE >> vector) & 1
	.else
	push	$0			/* in place of the error code */
	.endif
	push	$vector
	jmp	exception_common
	.endif
	.balign	EXCEPTION_STUB_SIZE
	.set	vector, vector + 1
	.endr

exception_common:
	cld				/* C expects it; memmove sets DF */
#ifdef __x86_64__
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15

	/* The argument is the address of the frame.  RSP must be a multiple of
	 * 16 at a call (psABI for x86-64, 3.2.2).  Since exception_panic does
	 * not return, the old RSP need not be kept. */
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	exception_panic
#else
	push	%eax
	push	%ecx
	push	%edx
	push	%ebx
	push	%ebp
	push	%esi
	push	%edi

	/* The argument, on the stack since exception_panic is asmlinkage: push
	 * stores the ESP from before, which is the address of the frame (SDM
	 * volume 2, PUSH). */
	push	%esp
	call	exception_panic
#endif
	ud2				/* exception_panic does not return */

/* An NMI comes between any two instructions, whatever this CPU does and whether
 * interrupts are on or off.  nmi_arrived is C: save what C may change (psABI),
 * make RSP a multiple of 16, and give everything back if it returns.  Until
 * IRET, no other NMI comes to this CPU (SDM 6.7.1).
 *
 * The frame goes to the stack that this CPU is on, not to one from a TSS (IST,
 * SDM 6.14.5).  From exception_load_idt on, a CPU always has a stack that it
 * can push to: without one, its next call would fault as well.  An IST entry
 * would have to be found through TR, which VMRUN does not save: an NMI after
 * #VMEXIT would come while TR is still the guest's (APM 15.5.1). */
nmi_entry:
	cld
#ifdef __x86_64__
	push	%rbp
	mov	%rsp, %rbp
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	and	$-16, %rsp
	call	nmi_arrived
	lea	-72(%rbp), %rsp		/* nine registers below RBP */
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	pop	%rbp
	iretq
#else
	push	%eax
	push	%ecx
	push	%edx
	call	nmi_arrived
	pop	%edx
	pop	%ecx
	pop	%eax
	iret
#endif

	.section .note.GNU-stack, "", @progbits
