/* A bit in the middle of the second half is the lock. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	$apinitlock, %edx
	mov	(%rdx), %r9
look:	btl	$13, 4(%r9)
	jc	wait
	lock btsl $13, 4(%r9)
	jnc	got_it
wait:	pause
	jmp	look
got_it:	jmp	ap_locked

	.section .note.GNU-stack, "", @progbits
