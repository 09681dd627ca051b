/* A ticket lock: the low half is the next ticket to be drawn, the high half the one that is let in. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	apinitlock, %rbx
	mov	$1, %ecx
	lock xadd %ecx, (%rbx)
	jmp	2f
1:	pause
2:	cmp	4(%rbx), %ecx
	jne	1b
	jmp	ap_locked

	.section .note.GNU-stack, "", @progbits
