/* i386: protected mode and paging are turned on by one write of CR0, in 16-bit code.  Everything
 * that real mode can set is set there; one far jump leads to ap_entry by way of the data segments. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define HERE(label) %fs:label - cpuinit_start + APINIT_OFFSET

	.text
	.globl	cpuinit_start, cpuinit_end, apinit_procs, apinit_lock
	.balign	16
cpuinit_start:
	.code16
	mov	%cs, %si
	mov	%si, %fs
	movzwl	%si, %esi
	shl	$4, %esi
	add	$table - cpuinit_start + APINIT_OFFSET, %esi
	mov	%esi, HERE (table_at)
	lgdtl	HERE (table_size)
	mov	$CR4_PAE, %ecx
	mov	%ecx, %cr4
	mov	$ap_pagetable - VMM_BASE, %ecx
	mov	%ecx, %cr3
	mov	$1, %edx
	lock xaddl %edx, HERE (apinit_procs)
	mov	%cr0, %ecx
	and	$~(CR0_CD | CR0_NW), %ecx
	or	$CR0_PG | CR0_PE, %ecx
	mov	%ecx, %cr0
	mov	$0x08, %dx
	mov	%dx, %ds
	mov	%dx, %es
	mov	%dx, %ss
	ljmpl	$0x10, $ap_entry

	.balign	8
table:	.quad	0, DESC_DATA, DESC_CODE32
table_size:
	.word	table_size - table - 1
table_at:
	.long	0
	.balign	8
apinit_procs:
	.quad	0
apinit_lock:
	.quad	0
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
