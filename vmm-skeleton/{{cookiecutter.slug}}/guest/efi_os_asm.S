/* The parts of guest/efi_os.c that are not C. */

#include "svm.h"

/* ---- an AP, in real mode ----
 *
 * Copied to a page below 1 MiB, where it starts after a SIPI.  It sets the bit
 * of its APIC id in ap_started16, and comes to rest. */
	.text
	.globl	ap_start16, ap_start16_end, ap_started16
	.code16
ap_start16:
	cli
	mov	$1, %eax
	cpuid
	shr	$24, %ebx
	lock btsl %ebx, %cs:ap_started16 - ap_start16
1:	hlt
	jmp	1b
	.balign	4
ap_started16:
	.long	0
ap_start16_end:

/* ---- where the guest ends ---- */
	.globl	rest, rest_end
	.code64
rest:
	hlt
	jmp	rest
rest_end:

/* u64 registers_changed (void): exit to the VMM, and return which registers
 * have changed: bit 0 for RBX, then RCX, RDX, RSI, RDI, RBP, R8 to R15. */
	.macro	check number, register
	cmp	$(0x1110 + \number), \register
	je	1f
	or	$(1 << \number), %eax
1:
	.endm

	.globl	registers_changed
registers_changed:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	$0x1110, %ebx
	mov	$0x1111, %ecx
	mov	$0x1112, %edx
	mov	$0x1113, %esi
	mov	$0x1114, %edi
	mov	$0x1115, %ebp
	mov	$0x1116, %r8d
	mov	$0x1117, %r9d
	mov	$0x1118, %r10d
	mov	$0x1119, %r11d
	mov	$0x111A, %r12d
	mov	$0x111B, %r13d
	mov	$0x111C, %r14d
	mov	$0x111D, %r15d
	mov	$VMMCALL_CPUNUM, %eax
	vmmcall
	xor	%eax, %eax
	check	0, %rbx
	check	1, %rcx
	check	2, %rdx
	check	3, %rsi
	check	4, %rdi
	check	5, %rbp
	check	6, %r8
	check	7, %r9
	check	8, %r10
	check	9, %r11
	check	10, %r12
	check	11, %r13
	check	12, %r14
	check	13, %r15
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.section .note.GNU-stack, "", @progbits
