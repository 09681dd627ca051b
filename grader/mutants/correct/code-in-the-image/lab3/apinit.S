/* Only the 16-bit code is in the copy.  The GDT and the 32-bit code stay in the VMM's image, which
 * both modes can reach by physical address.  Everything that real mode can set is set there.  From
 * 32-bit code a far jump leads to ap_entry itself: it lies below 4 GiB. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define PHYS(label) (label - VMM_BASE)

	.section .data
	.balign	8
low_gdt:
	.quad	0, DESC_DATA, DESC_CODE32, DESC_CODE64
low_gdt_end:

	.text
	.code32
continue32:
	mov	$0x08, %ecx
	mov	%ecx, %ds
	mov	%ecx, %es
	mov	%ecx, %fs
	mov	%ecx, %gs
	mov	%ecx, %ss
	mov	%cr0, %eax
	btr	$30, %eax
	btr	$29, %eax
	bts	$31, %eax
	mov	%eax, %cr0
	ljmp	$0x18, $ap_entry

	.balign	4
	.globl	cpuinit_start
cpuinit_start:
	.code16
0:	lgdtl	%cs:1f - 0b + APINIT_OFFSET
	mov	%cr4, %ebp
	or	$CR4_PAE, %ebp
	mov	%ebp, %cr4
	mov	$PHYS (ap_pagetable), %ebp
	mov	%ebp, %cr3
	mov	$MSR_EFER, %ecx
	xor	%edx, %edx
	mov	$EFER_LME, %eax
	wrmsr
	mov	$apinit_procs - cpuinit_start + APINIT_OFFSET, %bx
	lock addl $1, %cs:(%bx)
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
