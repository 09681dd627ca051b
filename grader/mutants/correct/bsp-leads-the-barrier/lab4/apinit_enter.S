/* Test, test and set, with the wait growing longer each time; the last byte is the lock. */

	.code64
	.text
	.globl	apinit_enter
apinit_enter:
	mov	$1, %r15d
	mov	(apinitlock), %r14
	lea	7(%r14), %r14
3:	mov	%r15d, %ecx
2:	pause
	loop	2b
	shl	%r15d
	and	$0xFF, %r15d
	or	$1, %r15d
	movzbl	(%r14), %eax
	test	%eax, %eax
	jnz	3b
	mov	$0xFF, %al
	xchg	%al, (%r14)
	or	%al, %al
	jnz	3b
	jmp	ap_locked

	.section .note.GNU-stack, "", @progbits
