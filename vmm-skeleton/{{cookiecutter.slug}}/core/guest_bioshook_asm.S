/* The hook of INT 0x15: 16-bit code, copied to low memory.  It answers "not
 * supported" to the functions that report memory above 1 MiB, and passes
 * everything else on. */

	.section .rodata
	.globl	int15_hook_start, int15_hook_next, int15_hook_end
	.code16
int15_hook_start:
	cmp	$0xE820, %ax			/* the memory map */
	je	refuse
	cmp	$0xE801, %ax			/* the size above 1 MiB */
	je	refuse
	cmp	$0x88, %ah			/* the same, up to 64 MiB */
	je	refuse
	.byte	0xEA				/* ljmpw to the old vector */
int15_hook_next:
	.word	0, 0				/* filled in when copied */

	/* The caller sees CF in the flags that INT has pushed: behind BP, IP
	 * and CS. */
refuse:
	push	%bp
	mov	%sp, %bp
	orb	$1, 6(%bp)
	pop	%bp
	mov	$0x86, %ah
	iret
int15_hook_end:

	.section .note.GNU-stack, "", @progbits
