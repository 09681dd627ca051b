/* A guest that misuses its local APIC.  It starts as an MBR does, in real mode
 * at 0:7C00, goes on in protected mode without paging, and says on COM1 what
 * comes of each attempt: the vector of the exception, or 0 if there was none.
 * With STACK_IN_APIC the exception has nowhere to put what it pushes.
 *
 * With ROUNDS the BSP sends IPIs to processors that do not exist, and then INIT
 * to itself, ROUNDS times.  Each time another processor has to wake it. */

#include "guest.h"
#include "svm.h"
#include "x86.h"

#define STACK	   0x7000
#define IDT	   0x10000
#define AP_VECTOR  0x30 /* pages at which processors begin */
#define BSP_VECTOR 0x31

#define APIC_BASE  0xFEE00000
#define APIC_TPR   0x80
#define APIC_ICR   0x300
#define APIC_ICR2  0x310
#define ICR_INIT   0x4500
#define ICR_SIPI   0x4600
#define ICR_SELF   0x40000
#define ABSENT	   2 /* from this APIC id on */
#define LAST_ID	   254

#define SEL_CODE 0x08
#define SEL_DATA 0x10

	.text
	.code16
	.globl	_start
_start:
	jmp	start
	.org	4
	.long	GUEST_MAGIC
	.word	0
	.byte	AP_VECTOR
	.byte	0

start:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	xor	%ebp, %ebp		/* of the first start */
to_protected_mode:
	lgdtl	gdtr
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmpl	$SEL_CODE, $protected

stub_ap:				/* works at the beginning of any page */
	mov	$2, %ebp
	ljmp	$0, $begins
stub_bsp:
	mov	$1, %ebp
	ljmp	$0, $begins
stub_end:
begins:
	xor	%ax, %ax
	mov	%ax, %ds
	jmp	to_protected_mode

	.balign	8
gdt:	.quad	0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
idtr:	.word	(VECTOR_GP + 1) * 8 - 1
	.long	IDT

	.code32
protected:
	mov	$SEL_DATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$STACK, %esp
	mov	$APIC_BASE, %ebx
	lidtl	idtr
#ifdef ROUNDS
	cmp	$1, %ebp
	je	again
	ja	wakes
#endif
	mov	$(SEL_CODE << 16), %eax
	lea	invalid_opcode, %edx
	mov	%dx, %ax
	mov	%eax, IDT + VECTOR_UD * 8
	movl	$0x8E00, IDT + VECTOR_UD * 8 + 4
	lea	protection, %edx
	mov	%dx, %ax
	mov	%eax, IDT + VECTOR_GP * 8
	movl	$0x8E00, IDT + VECTOR_GP * 8 + 4

#ifdef STACK_IN_APIC
	lea	APIC_TPR(%ebx), %esp
	xchg	%eax, APIC_TPR(%ebx)
#endif
#ifndef ROUNDS
	/* Execute an instruction, and say what came of it. */
	.macro	attempt what:vararg
	movl	$1f, after
	movl	$'0', fault
	\what
1:	call	report
	.endm

	/* What the decoder does not know, and a register that does not exist. */
	attempt	xchg %eax, APIC_TPR(%ebx)
	attempt	orl $1, APIC_TPR(%ebx)
	attempt	movw %ax, APIC_TPR(%ebx)
	attempt	movb %al, APIC_TPR(%ebx)
	attempt	movl %eax, APIC_TPR + 4(%ebx)
	lea	APIC_TPR(%ebx), %edi
	mov	$1, %ecx
	attempt	rep stosl

	/* The APIC elsewhere, off, in x2APIC mode, with a reserved bit; as it
	 * is. */
	.macro	set_base low, high, change
	mov	$MSR_APIC_BASE, %ecx
	rdmsr
	xor	$(\change), %eax
	add	$(\low), %eax
	mov	$(\high), %edx
	attempt	wrmsr
	.endm
	set_base 0x1000, 0, 0
	set_base 0, 1, 0
	set_base 0, 0, APIC_BASE_ENABLE
	set_base 0, 0, APIC_BASE_EXTD
	set_base 0, 0, 1
	set_base 0, 0, 0

	/* And it still works. */
	movl	$0x20, APIC_TPR(%ebx)
	cmpl	$0x20, APIC_TPR(%ebx)
	jne	stop
#else
	cld
	mov	$stub_ap, %esi
	mov	$AP_VECTOR << 12, %edi
	mov	$stub_bsp - stub_ap, %ecx
	rep movsb
	mov	$stub_bsp, %esi
	mov	$BSP_VECTOR << 12, %edi
	mov	$stub_end - stub_bsp, %ecx
	rep movsb

	mov	$ABSENT, %ecx
1:	mov	%ecx, %edx
	shl	$24, %edx
	mov	%edx, APIC_ICR2(%ebx)
	movl	$ICR_INIT, APIC_ICR(%ebx)
	movl	$(ICR_SIPI | AP_VECTOR), APIC_ICR(%ebx)
	inc	%ecx
	cmp	$LAST_ID, %ecx
	jbe	1b

	movl	$0, rounds
	movl	$(1 << 24), APIC_ICR2(%ebx)
	movl	$ICR_INIT, APIC_ICR(%ebx)
	movl	$(ICR_SIPI | AP_VECTOR), APIC_ICR(%ebx)
	movl	$(ICR_SELF | ICR_INIT), APIC_ICR(%ebx)
	jmp	stop			/* it does not come here */
again:
	incl	rounds
	cmpl	$ROUNDS, rounds
	je	2f
	movl	$(ICR_SELF | ICR_INIT), APIC_ICR(%ebx)
	jmp	stop

wakes:					/* the other processor */
	movl	$0, APIC_ICR2(%ebx)
1:	movl	$(ICR_SIPI | BSP_VECTOR), APIC_ICR(%ebx)
	pause
	cmpl	$ROUNDS, rounds
	jne	1b
	jmp	stop
2:
#endif
	mov	$text, %esi
	call	print
stop:	cli
	hlt
	jmp	stop

invalid_opcode:
	movl	$'6', fault
	jmp	1f
protection:
	movl	$'D', fault
1:	mov	$STACK, %esp
	jmp	*after

report:
	mov	$fault_text, %esi
	mov	fault, %al
	mov	%al, fault_text + 17
print:					/* ESI: the text */
	mov	$COM1_LSR, %edx
1:	in	%dx, %al
	test	$COM1_LSR_THRE, %al
	jz	1b
	mov	$COM1, %edx
	lodsb
	out	%al, %dx
	cmpb	$0, (%esi)
	jne	print
	ret

fault_text:
	.asciz	"guest: exception -\r\n"
text:	.asciz	"guest: it goes on\r\n"
	.balign	4
fault:	.long	0
after:	.long	0
rounds:	.long	0
	.section .note.GNU-stack, "", @progbits
