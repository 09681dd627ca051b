/* i386: only the 16-bit code is in the copy.  The GDT and the 32-bit code stay in the VMM's image,
 * which runs there by its physical address.  An AP counts itself in at the very end, by the alias. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define PHYS(label) (label - VMM_BASE)

	.data
	.balign	8
low_gdt:
	.quad	0, 0, DESC_CODE32, DESC_DATA
low_gdt_end:

	.text
	.code32
continue32:
	mov	$0x18, %ecx
	mov	%ecx, %ss
	mov	%ecx, %ds
	mov	%ecx, %es
	mov	%cr4, %edx
	bts	$5, %edx
	mov	%edx, %cr4
	mov	$PHYS (ap_pagetable), %edx
	mov	%edx, %cr3
	mov	$CR0_PG | CR0_PE, %edx
	mov	%edx, %cr0
	jmp	1f
1:	lock addl $1, apinit_procs - cpuinit_start + VMM_BASE (%ebx)
	ljmp	$0x10, $ap_entry

	.balign	4
	.globl	cpuinit_start
cpuinit_start:
	.code16
0:	cli
	mov	%cs, %bx
	movzwl	%bx, %ebx
	shl	$4, %ebx
	add	$APINIT_OFFSET, %ebx
	lgdtl	%cs:1f - 0b + APINIT_OFFSET
	mov	$1, %ax
	lmsw	%ax
	ljmpl	$0x10, $PHYS (continue32)
1:	.word	low_gdt_end - low_gdt - 1
	.long	PHYS (low_gdt)

	.balign	8
	.globl	apinit_lock, apinit_procs, cpuinit_end
apinit_lock:
	.quad	0
apinit_procs:
	.long	0
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
