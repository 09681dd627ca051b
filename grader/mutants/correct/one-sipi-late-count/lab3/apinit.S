/* The place of the copy is known from cohort.h: no address is worked out at run time.  CS is loaded
 * anew first.  An AP counts itself in at the very end, in 64-bit code. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define AT(label) (label - cpuinit_start + APINIT_ADDR)
#define SEGMENT	  ((APINIT_ADDR - APINIT_OFFSET) / 16)

	.text
	.globl	cpuinit_start, cpuinit_end, apinit_procs, apinit_lock
	.balign	64
cpuinit_start:
	.code16
	cli
	ljmp	$SEGMENT, $here - cpuinit_start + APINIT_OFFSET
	.balign	16
table:	.word	31
	.long	AT (descriptors)
	.balign	8
descriptors:
	.quad	0, DESC_CODE64, DESC_CODE32, DESC_DATA
here:
	mov	$SEGMENT, %ax
	mov	%ax, %gs
	lgdtl	%gs:(table - cpuinit_start + APINIT_OFFSET)
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$0x10, $AT (protected)
	.code32
protected:
	mov	$0x18, %bx
	mov	%bx, %ds
	mov	%bx, %es
	mov	%bx, %ss
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
	ljmpl	$0x08, $AT (long)
	.code64
long:
	lock incl AT (apinit_procs) + VMM_BASE	/* by the alias */
	mov	$ap_entry, %rdi
	jmp	*%rdi
	.balign	8
apinit_procs:
	.quad	0
apinit_lock:
	.quad	0
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
