/* The code that the IDT points to.  It brings all exceptions into one shape,
 * struct exception_frame, and never returns. */

#include "exception.h"

	.text

/* SDM table 6-1, APM 8.2: for these vectors the CPU pushes an error code. */
#define HAS_ERROR_CODE \
	(1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | \
	 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30)

/* One stub for each vector: the CPU does not tell which one it is.  All stubs
 * have the same size, so that exception_init can compute their addresses. */
	.globl	exception_stubs
	.balign	EXCEPTION_STUB_SIZE
exception_stubs:
	.set	vector, 0
	.rept	NUM_OF_EXCEPTIONS
	.if	(HAS_ERROR_CODE >> vector) & 1
	.else
	push	$0			/* in place of the error code */
	.endif
	push	$vector
	jmp	exception_common
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

	.section .note.GNU-stack, "", @progbits
