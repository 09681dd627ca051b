/* lab3: the trampoline, where an AP wakes up.
 *
 * What is between cpuinit_start and cpuinit_end is copied to the physical
 * address apinit_addr and runs there.  It is linked elsewhere: an absolute
 * address of a label in here is not where the label is at run time.
 *
 * On entry: an AP after INIT and SIPI (SDM 8.4.3 and 9.1; APM 14.1), by the
 * far jump at physical address 0: real mode, 16-bit code,
 * CS = (apinit_addr - APINIT_OFFSET) >> 4, IP = APINIT_OFFSET.  DS and SS are
 * 0, there is no stack, all APs come at the same time.  apinit_addr is below
 * 1 MiB and not always 4 KiB-aligned.
 *
 * Must: add one to apinit_procs in the copy, once for each AP, so that none is
 * lost.  Enter protected mode (SDM 9.9.1), then long mode (SDM 9.8.5; APM 14.6)
 * with the page tables at ap_pagetable - VMM_BASE, and jump to ap_entry, at
 * the address it is linked at.  There: CS a 64-bit code segment, SS, DS and ES
 * flat data segments, CR0.PE and CR0.PG set, CR0.CD and CR0.NW clear, CR4.PAE
 * and EFER.LME set, interrupts off.  (On i386 the way ends in protected mode
 * with PAE paging, CS a 32-bit code segment.)
 *
 * No stack may be used, since there is none: no push, no call, no interrupt.
 * No memory outside of the copy may be written. */

#include "cohort.h"
#include "layout.h"
#include "todo.h"
#include "x86.h"

	.text
	.balign	16
	.globl	cpuinit_start
cpuinit_start:
	.code16
	cli
	/* BEGIN SOLUTION lab3.5
	 * TODO(lab3.5): count this CPU in, load a GDT, set CR0.PE and jump to
	 * 32-bit code at cpuinit32.
	 * STARTER: VMM_TODO16 (lab3_5)
	 */
	/* Offset of a label from the start of CS, and from the start of the
	 * copy.  EBX: linear address of the copy. */
#define CS_OFFSET(label)   label - cpuinit_start + APINIT_OFFSET
#define COPY_OFFSET(label) label - cpuinit_start
	lock incl %cs:CS_OFFSET (apinit_procs)
	xor	%ebx, %ebx
	mov	%cs, %bx
	shl	$4, %ebx
	add	$APINIT_OFFSET, %ebx

	/* All APs write the same values here. */
	lea	COPY_OFFSET (gdt)(%ebx), %eax
	mov	%eax, %cs:CS_OFFSET (gdtr_base)
	lea	COPY_OFFSET (cpuinit32)(%ebx), %eax
	mov	%eax, %cs:CS_OFFSET (far32)

	lgdtl	%cs:CS_OFFSET (gdtr)
	mov	%cr0, %eax
	or	$CR0_PE, %eax
	mov	%eax, %cr0
	ljmpl	*%cs:CS_OFFSET (far32)
	/* END SOLUTION */

	.code32
cpuinit32:
	/* BEGIN SOLUTION lab3.6
	 * TODO(lab3.6): load the data segments, turn on PAE, the page tables
	 * of the APs, long mode and paging, jump to 64-bit code and from
	 * there to ap_entry.
	 * STARTER: VMM_TODO32 (lab3_6)
	 */
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss

	mov	%cr4, %eax
	or	$CR4_PAE, %eax
	mov	%eax, %cr4
	mov	$ap_pagetable - VMM_BASE, %eax
	mov	%eax, %cr3
#ifdef __x86_64__
	mov	$MSR_EFER, %ecx
	rdmsr
	or	$EFER_LME, %eax
	wrmsr
	lea	COPY_OFFSET (cpuinit64)(%ebx), %eax
	mov	%eax, COPY_OFFSET (far64)(%ebx)
#endif
	mov	$CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE, %eax
	mov	%eax, %cr0			/* caches on: CD, NW clear */
#ifdef __x86_64__
	ljmpl	*COPY_OFFSET (far64)(%ebx)

	.code64
cpuinit64:
#endif
	mov	$ap_entry, %eax			/* clears the rest of RAX */
#ifdef __x86_64__
	jmp	*%rax
#else
	jmp	*%eax
#endif
	/* END SOLUTION */

	/* BEGIN SOLUTION lab3.5
	 * TODO(lab3.5): the GDT, and what lgdt and the jump read, may stand
	 * here.
	 * STARTER:
	 */
	.balign	8
gdt:
	.quad	0
	.quad	DESC_CODE32			/* 0x08 */
	.quad	DESC_DATA			/* 0x10 */
	.quad	DESC_CODE64			/* 0x18, not for i386 */
gdtr:
	.word	gdtr - gdt - 1
gdtr_base:
	.long	0				/* filled in at run time */
	.balign	4
far32:
	.long	0				/* filled in at run time */
	.word	SEL_CODE
	/* END SOLUTION */
	/* BEGIN SOLUTION lab3.6
	 * TODO(lab3.6): what the jump to 64-bit code reads may stand here.
	 * STARTER:
	 */
	.balign	4
far64:
	.long	0				/* filled in at run time */
	.word	0x18
	/* END SOLUTION */

/* Number of APs that have come; ap_start sets it to 0. */
	.balign	8
	.globl	apinit_procs
apinit_procs:
	.long	0

/* Room for the lock of the shared boot stack; ap_start sets it to 0. */
	.balign	8
	.globl	apinit_lock
apinit_lock:
	.quad	0
	.globl	cpuinit_end
cpuinit_end:

	.section .note.GNU-stack, "", @progbits
