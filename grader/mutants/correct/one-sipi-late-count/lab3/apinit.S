/* All addresses are filled in at the very beginning, and GS is used for them.  An AP counts itself in
 * at the very end, in 64-bit code. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define HERE(label)  (label - cpuinit_start)
#define BY_GS(label) %gs:(label - cpuinit_start + APINIT_OFFSET)

	.text
	.globl	cpuinit_start, cpuinit_end, apinit_procs, apinit_lock
	.balign	64
cpuinit_start:
	.code16
	cli
	jmp	here
	.balign	16
table:	.word	31
	.long	0
to32:	.long	0
	.word	0x10
to64:	.long	0
	.word	0x08
	.balign	8
descriptors:
	.quad	0, DESC_CODE64, DESC_CODE32, DESC_DATA
here:
	mov	%cs, %ax
	mov	%ax, %gs
	movzwl	%ax, %ebx
	shl	$4, %ebx
	add	$APINIT_OFFSET, %ebx
	lea	HERE (descriptors)(%ebx), %eax
	mov	%eax, BY_GS (table + 2)
	lea	HERE (protected)(%ebx), %eax
	mov	%eax, BY_GS (to32)
	lea	HERE (long)(%ebx), %eax
	mov	%eax, BY_GS (to64)
	lgdtl	BY_GS (table)
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	*BY_GS (to32)
	.code32
protected:
	mov	$0x18, %cx
	mov	%cx, %ds
	mov	%cx, %es
	mov	%cx, %ss
	mov	$0xC0000080, %ecx
	mov	$0x100, %eax
	cdq
	wrmsr
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	mov	$ap_pagetable - VMM_BASE, %eax
	mov	%eax, %cr3
	mov	$0x80000011, %eax
	mov	%eax, %cr0
	ljmpl	*HERE (to64)(%ebx)
	.code64
long:
	mov	%ebx, %ebx
	lock incl HERE (apinit_procs) + VMM_BASE (%rbx)	/* by the alias */
	mov	$ap_entry, %rdi
	jmp	*%rdi
	.balign	8
apinit_procs:
	.quad	0
apinit_lock:
	.quad	0
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
