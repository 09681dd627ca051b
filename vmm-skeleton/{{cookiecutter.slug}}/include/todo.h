/* Steps that nobody has written yet.  For C and assembly.
 *
 * In C: vmm_todo ("lab3.2");
 *
 * In assembly one of these, by the mode that the CPU is in at that place.
 * None of them needs a stack.  All stop the CPU at the label todo_lab3_5 (and
 * so on), after the first CPU there has said what is missing.
 *
 *	VMM_TODO16 (lab3_5)	real mode, between cpuinit_start and cpuinit_end
 *	VMM_TODO32 (lab3_6)	protected mode without paging, flat CS
 *	VMM_TODO64 (lab4_1)	long mode
 */
#ifndef TODO_H
#define TODO_H

#define TODO_WHAT_lab3_5                                                       \
	"count this CPU in, load the GDT and enter protected mode"
#define TODO_WHAT_lab3_6 "enter long mode and jump to ap_entry"
#define TODO_WHAT_lab4_1 "take *apinitlock without a stack"

#ifndef __ASSEMBLER__
#include "linkage.h"

/* Says what is to be written and where, once for each step, and stops this
 * CPU. */
noreturn void vmm_todo (const char *id);

#else
#include "cohort.h"
#include "layout.h"
#include "x86.h"

/* clang-format off */
#define TODO_ID_lab3_5 "lab3.5"
#define TODO_ID_lab3_6 "lab3.6"
#define TODO_ID_lab4_1 "lab4.1"

#define TODO_SAY(id) .ascii "TODO(", TODO_ID_##id, "): ", TODO_WHAT_##id, \
			    ". Write it in lab3/apinit.S.\r\n\0"

/* The text stands behind the code, in the copy. */
#define VMM_TODO16(id) vmm_todo16 todo_##id; .Ltext_todo_##id: TODO_SAY (id)

#define VMM_TODO32(id) vmm_todo32 todo_##id; .pushsection .rodata; \
		       .Ltext_todo_##id: TODO_SAY (id); .popsection

#define VMM_TODO64(id) vmm_todo64 todo_##id; .pushsection .rodata; \
		       .Ltext_todo_##id: .asciz TODO_ID_##id; .popsection

/* Text at seg:(si) to COM1, by polling. */
	.macro	todo_say seg, si
1:	mov	$COM1_LSR, %dx
2:	inb	%dx, %al
	test	$COM1_LSR_THRE, %al
	jz	2b
	mov	%\seg:(%\si), %al
	test	%al, %al
	jz	3f
	mov	$COM1, %dx
	outb	%al, %dx
	inc	%\si
	jmp	1b
3:
	.endm

/* Runs in the copy of the trampoline: its start is CS:APINIT_OFFSET.  Who has
 * said it is remembered in the copy too. */
	.macro	vmm_todo16 label
	cli
	lock btsw $0, %cs:.Lsaid_\label - cpuinit_start + APINIT_OFFSET
	jc	\label
	mov	$.Ltext_\label - cpuinit_start + APINIT_OFFSET, %si
	todo_say cs, si
\label:
	hlt
	jmp	\label
	.balign	2
.Lsaid_\label:
	.word	0
	.endm

/* Paging is off: everything is reached by its physical address. */
	.macro	vmm_todo32 label
	lgdtl	%cs:todo_gdtr - VMM_BASE
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	lock btsl $0, todo_said - VMM_BASE
	jc	\label
	mov	$.Ltext_\label - VMM_BASE, %esi
	todo_say ds, esi
\label:
	hlt
	jmp	\label
	.endm

	.macro	vmm_todo64 label
	lock btsl $0, todo_said
	jc	\label
	mov	$todo_stack_top, %esp
	mov	$.Ltext_\label, %edi
	call	vmm_todo
\label:
	hlt
	jmp	\label
	.endm
/* clang-format on */
#endif

#endif
