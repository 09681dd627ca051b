/* Tickets of one byte: 256 different ones, and fewer APs. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	apinitlock, %rdi
	mov	$1, %eax
	lock xadd %al, (%rdi)
1:	cmp	%al, 1(%rdi)
	je	ap_locked
	pause
	jmp	1b

	.section .note.GNU-stack, "", @progbits
