/* The GDT and the far jumps lie in the copy; ap_start has filled in their addresses.  Data are
 * reached by DS.  The far jumps are instructions, not read from memory. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define OFF(label) (label - cpuinit_start + APINIT_OFFSET)

	.text
	.balign	16
	.globl	cpuinit_start
cpuinit_start:
	.code16
	cli
	cld
	mov	%cs, %dx
	mov	%dx, %ds
	mov	$1, %ecx
	mov	$OFF (apinit_procs), %di
	lock xadd %ecx, (%di)
	lgdtl	OFF (gdt_pointer)
	mov	%cr0, %esi
	inc	%si				/* PE, which was clear */
	mov	%esi, %cr0
	.byte	0x66, 0xEA			/* ljmpl $0x18, $in32 */
	.globl	patch_in32
patch_in32:
	.long	in32 - cpuinit_start
	.word	0x18

	.code32
in32:
	mov	$0x20, %dx
	mov	%edx, %ss
	mov	%edx, %ds
	mov	%edx, %es
	mov	$ap_pagetable - VMM_BASE, %edi
	mov	%edi, %cr3
	mov	$CR4_PAE, %edi
	mov	%edi, %cr4
	mov	$MSR_EFER, %ecx
	rdmsr
	bts	$8, %eax
	wrmsr
	mov	%cr0, %edi
	or	$CR0_PG, %edi
	and	$~(CR0_CD | CR0_NW), %edi
	mov	%edi, %cr0
	.byte	0xEA				/* ljmp $0x08, $in64 */
	.globl	patch_in64
patch_in64:
	.long	in64 - cpuinit_start
	.word	0x08

	.code64
in64:
	movabs	$ap_entry, %r11
	jmp	*%r11

	.balign	8
gdt_pointer:
	.word	5 * 8 - 1
	.globl	patch_gdt
patch_gdt:
	.long	gdt - cpuinit_start
	.balign	8
gdt:
	.quad	0
	.quad	0x00209A0000000000		/* 0x08: 64-bit code */
	.quad	0				/* not used */
	.quad	0x00CF9A000000FFFF		/* 0x18: 32-bit code */
	.quad	0x00CF92000000FFFF		/* 0x20: data */

	.balign	8
	.globl	apinit_procs
apinit_procs:
	.long	0
	.balign	8
	.globl	apinit_lock
apinit_lock:
	.quad	0
	.globl	cpuinit_end
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
