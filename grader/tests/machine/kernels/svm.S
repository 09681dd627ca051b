/*
 * A tiny multiboot1 kernel that runs a guest of three instructions in real mode at 0:7C00, on the
 * boot processor. It exists to try the record of guests, not to be a good VMM: the host runs in
 * protected mode without paging.
 *
 * The guest makes two VMMCALLs; after each of them the host writes 0x400 to its ICR, for nobody.
 * Then the guest halts, which is intercepted, and the host spins in `done`.
 *
 * Built with -D: FLOOD_GUEST (VMMCALLs for ever), NO_ASID (a VMCB that VMRUN refuses),
 * GUEST_TRIPLE (a triple fault in the guest, intercepted).
 */
	.set	ICR_LOW, 0xfee00300
	.set	GUEST, 0x7c00

	.text
	.align	4
	.long	0x1badb002, 0, -0x1badb002
	.code32
	.globl	start
start:
	mov	$stack_top, %esp
	mov	$guest, %esi
	mov	$GUEST, %edi
	mov	$guest_end - guest, %ecx
	cld
	rep movsb

	mov	$0xc0000080, %ecx	/* EFER.SVME */
	rdmsr
	or	$0x1000, %eax
	wrmsr
	mov	$0xc0010117, %ecx	/* VM_HSAVE_PA */
	mov	$hsave, %eax
	xor	%edx, %edx
	wrmsr

	/* AMD APM vol. 2, appendix B. */
	movl	$1 << 24 | 1 << 31, vmcb + 0x0c	/* HLT, SHUTDOWN */
	movl	$3, vmcb + 0x10			/* VMRUN, VMMCALL */
#ifndef NO_ASID
	movl	$1, vmcb + 0x58
#endif
	mov	$vmcb + 0x400, %edi
	mov	$10, %ecx
1:	movw	$0x93, 2(%edi)
	movl	$0xffff, 4(%edi)
	add	$16, %edi
	loop	1b
	movw	$0x9b, vmcb + 0x412		/* CS */
#ifdef GUEST_TRIPLE
	movl	$0, vmcb + 0x484		/* the limit of IDTR */
#endif
	movl	$0x1000, vmcb + 0x4d0		/* EFER */
	movl	$0x10, vmcb + 0x558		/* CR0 */
	movl	$2, vmcb + 0x570		/* RFLAGS */
	movl	$GUEST, vmcb + 0x578		/* RIP */
	movl	$0x7000, vmcb + 0x5d8		/* RSP */

	movl	$0xfe000000, 0xfee00310
again:	mov	$vmcb, %eax
	.globl	run
run:	vmrun
	cmpl	$0x81, vmcb + 0x70
	jne	done
	addl	$3, vmcb + 0x578
#ifndef FLOOD_GUEST
	movl	$0x400, ICR_LOW
#endif
	jmp	again
	.globl	done
done:	pause
	jmp	done

	.code16
guest:
#ifdef GUEST_TRIPLE
	ud2
#endif
	vmmcall
#ifdef FLOOD_GUEST
	jmp	guest
#endif
	vmmcall
	hlt
guest_end:

	.bss
	.align	4096
vmcb:	.skip	4096
hsave:	.skip	4096
	.globl	vmcb, hsave
	.skip	4096
stack_top:
