/* Counts by compare and swap, in 32-bit code.  The stack pointer serves as a register. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

	.macro	linear label, reg
	mov	%esp, \reg
	add	$\label - cpuinit_start, \reg
	.endm

	.text
	.globl	cpuinit_start
	.globl	cpuinit_end
	.globl	apinit_procs
	.globl	apinit_lock
	.balign	32
cpuinit_start:
	.code16
	cli
	mov	%cs, %si
	movzwl	%si, %esp
	sal	$4, %esp
	lea	APINIT_OFFSET(%esp), %esp
	mov	%si, %fs
	linear	gdt, %edi
	mov	%edi, %fs:gdt_at - cpuinit_start + APINIT_OFFSET
	linear	code32, %edi
	mov	%edi, %fs:far_at - cpuinit_start + APINIT_OFFSET
	lgdtl	%fs:gdt_limit - cpuinit_start + APINIT_OFFSET
	mov	$CR0_PE | CR0_ET, %eax
	mov	%eax, %cr0
	ljmpl	*%fs:far_at - cpuinit_start + APINIT_OFFSET

	.code32
code32:
	mov	$0x20, %al
	movzbl	%al, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	linear	apinit_procs, %edi
	mov	(%edi), %eax
more:	lea	1(%eax), %edx
	lock cmpxchg %edx, (%edi)
	jne	more

	mov	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$ap_pagetable - VMM_BASE, %eax
	mov	%eax, %cr3
	xor	%edx, %edx
	mov	$EFER_LME, %eax
	mov	$MSR_EFER, %ecx
	wrmsr
	mov	%cr0, %eax
	btr	$30, %eax
	btr	$29, %eax
	bts	$31, %eax
	mov	%eax, %cr0
	ljmpl	$0x10, $code64 - VMM_BASE
	.code64
code64:				/* runs in the image, by its physical address */
	mov	$ap_entry, %ebx
	jmp	*%rbx

	.balign	8
gdt:	.quad	0, DESC_CODE32, DESC_CODE64, 0, DESC_DATA
gdt_limit:
	.word	39
gdt_at:	.long	0
	.word	0
far_at:	.long	0
	.word	0x08
	.balign	8
apinit_lock:
	.quad	0
apinit_procs:
	.quad	0
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
