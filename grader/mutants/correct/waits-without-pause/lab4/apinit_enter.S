/* PAUSE is a hint to the processor: whoever waits without it waits just as well. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	$apinitlock, %ecx
	mov	(%rcx), %rcx
again:	cmpb	$0, (%rcx)
	jne	again
	mov	$0xff, %al
	xchg	(%rcx), %al
	test	%al, %al
	jnz	again
	jmp	ap_locked

	.section .note.GNU-stack, "", @progbits
