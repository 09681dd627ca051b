/* The count is not atomic: a bit of its own guards it.  Everything else is as usual. */

#include "cohort.h"
#include "layout.h"
#include "x86.h"

#define OFF(label) (label - cpuinit_start)
#define CS_(label) %cs:OFF (label) + APINIT_OFFSET

	.text
	.globl	cpuinit_start, cpuinit_end, apinit_procs, apinit_lock
	.balign	16
cpuinit_start:
	.code16
	cli
	cld
	xor	%ebp, %ebp
enter:	lock btsw $7, CS_ (gate)
	jc	enter
	mov	CS_ (apinit_procs), %edx
	add	$1, %edx
	mov	%edx, CS_ (apinit_procs)
	movw	$0, CS_ (gate)

	mov	%cs, %bp
	shl	$4, %ebp
	add	$APINIT_OFFSET, %ebp
	mov	%cs, %ax
	mov	%ax, %ds
	leal	OFF (table)(%ebp), %ecx
	movl	%ecx, OFF (operand) + APINIT_OFFSET + 2
	leal	OFF (flat)(%ebp), %ecx
	movl	%ecx, OFF (target) + APINIT_OFFSET
	lgdtl	OFF (operand) + APINIT_OFFSET
	smsw	%ax
	or	$1, %ax
	lmsw	%ax
	ljmpl	*OFF (target) + APINIT_OFFSET

	.balign	8
table:	.quad	0, DESC_DATA, DESC_CODE64, DESC_CODE32
operand:
	.word	. - table - 1
	.long	0
	.balign	4
target:	.long	0
	.word	0x18
	.balign	4
target64:
	.long	0
	.word	0x10
	.balign	4
gate:	.word	0

	.code32
flat:
	mov	$0x08, %dx
	mov	%dx, %ss
	mov	%dx, %ds
	mov	%dx, %es
	mov	$MSR_EFER, %ecx
	rdmsr
	bts	$8, %eax
	wrmsr
	mov	$ap_pagetable - VMM_BASE, %esi
	mov	%esi, %cr3
	mov	%cr4, %eax
	bts	$5, %eax
	mov	%eax, %cr4
	mov	%cr0, %eax
	and	$~(CR0_CD | CR0_NW), %eax
	or	$CR0_PG, %eax
	mov	%eax, %cr0
	lea	OFF (longer)(%ebp), %eax
	mov	%eax, OFF (target64)(%ebp)
	ljmpl	*OFF (target64)(%ebp)
	.code64
longer:
	movabs	$ap_entry, %rcx
	jmp	*%rcx

	.balign	8
apinit_procs:
	.long	0
	.long	0
apinit_lock:
	.skip	8
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
