/* Tries less and less often while somebody else is in. */

	.text
	.globl	apinit_enter
apinit_enter:
	mov	$apinitlock, %rax
	mov	(%rax), %rax
	xor	%ecx, %ecx
0:	lock btsw $0, (%rax)
	jnc	2f
	inc	%ecx
	mov	%ecx, %edx
1:	pause
	dec	%edx
	jnz	1b
	and	$31, %ecx
	jmp	0b
2:	jmp	ap_locked

	.section .note.GNU-stack, "", @progbits
