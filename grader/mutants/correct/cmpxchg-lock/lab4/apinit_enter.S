/* The whole 8 bytes are the lock: 0, or the APIC id of who has it, plus 1. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	$1, %eax
	cpuid
	shr	$24, %ebx
	inc	%rbx				/* cpuid has cleared the upper half */
	mov	apinitlock, %rsi
.Lagain:
	xor	%eax, %eax
	lock cmpxchg %rbx, (%rsi)
	je	ap_locked
	pause
	jmp	.Lagain

	.section .note.GNU-stack, "", @progbits
