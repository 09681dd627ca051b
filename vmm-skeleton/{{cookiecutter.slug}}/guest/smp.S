/* A guest that starts its own processors, by INIT and SIPI from its local APIC.
 * It starts as an MBR does, in real mode at 0:7C00.  All CPUs go on in 64-bit
 * mode.  It waits for events only, never for a time.
 *
 * The BSP starts all APs at once, then each one again, alone and at another
 * place, while it runs.  Then it waits in HLT for an interrupt from the last
 * one.  In the end it prints a line on COM1.
 *
 * If a debugger has set `directed` in the header, no CPU does anything by
 * itself: each executes the code that the debugger puts into its record. */

#include "guest.h"
#include "guest_asm.h"
#include "svm.h"
#include "x86.h"

/* Memory that the guest uses, besides this image and its .bss. */
#define STACK_REAL 0x7000
#define TABLES	   0x10000 /* PML4, PDPT, page directories of 0 and 3 GiB */
#define IDT	   0x14000
#define STACKS	   0x20000 /* 4 KiB for each CPU */
#define STACK_SIZE 0x1000
#define MAX_CPUS   16

#define FIRST_VECTOR  0x30 /* pages at which the APs begin */
#define SECOND_VECTOR 0x31

/* Offsets in this image, where a debugger finds the places. */
#define READY_OFFSET  0x400 /* waits for code to execute */
#define CAME_OFFSET   0x420 /* in 64-bit mode, after each start */
#define ACKED_OFFSET  0x440 /* has executed it, or got an exception */
#define DONE_OFFSET   0x460
#define FAILED_OFFSET 0x480
#define STUB_OFFSET   0x4A0 /* where an AP begins: to be copied to its page */

#define APIC_BASE     0xFEE00000
#define APIC_ID	      0x20
#define APIC_EOI      0xB0
#define APIC_SVR      0xF0
#define APIC_ICR      0x300
#define APIC_ICR2     0x310
#define SVR_ENABLED   0x1FF
#define ICR_INIT      0x4500
#define ICR_SIPI      0x4600
#define ICR_FIXED     0x4000
#define ICR_OTHERS    0xC0000
#define WAKE_VECTOR   0x40
#define NOBODY	      0xFFFFFFFF /* no APIC id */

/* The record of a CPU in guest_results; its APIC id is the index. */
#define RECORD_COMMAND 0  /* not 0: execute the code; written by a debugger */
#define RECORD_STARTS  4  /* how often it has started as an AP */
#define RECORD_VECTOR  8  /* of the last SIPI */
#define RECORD_FAULT   12 /* vector of the last exception, and 0x100 */
#define RECORD_RAX     16 /* for the code */
#define RECORD_RCX     24
#define RECORD_RDX     32
#define RECORD_CODE    64 /* ends with RET; RBX is APIC_BASE */
#define RECORD_SIZE    128

#define SEL_CODE64 0x08
#define SEL_DATA64 0x10

	.text
	.code16
	.globl	_start
_start:
	jmp	start
	.org	4
	.long	GUEST_MAGIC
cpus:	.word	1			/* the VMM writes it */
	.byte	FIRST_VECTOR
directed:
	.byte	0			/* a debugger writes it */

/* ---- real mode ---- */

start:
	cli
	cld
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$STACK_REAL, %sp

	/* A BIOS loads only the first sector from a disk.  The VMM loads all of
	 * a module. */
	cmpl	$GUEST_MAGIC, loaded
	je	1f
	sti
	mov	$(0x0200 | (image_end - _start - 1) / 512), %ax
	mov	$0x0002, %cx		/* from sector 2 on */
	mov	$0x00, %dh
	mov	$GUEST_MBR + 512, %bx
	int	$0x13			/* DL is the drive */
	cli
1:	xor	%ax, %ax
	mov	$guest_results, %di	/* clear BSS */
	mov	$bss_end - guest_results, %cx
	rep stosb

	/* Where the APs begin. */
	mov	$FIRST_VECTOR << 8, %ax
	call	copy_stub
	mov	$SECOND_VECTOR << 8, %ax
	call	copy_stub

	identity_tables TABLES, 0x5000
	mov	$SEL_CODE64 << 16 | (invalid_opcode - _start + GUEST_MBR), %eax
	mov	$VECTOR_UD, %di
	call	set_gate
	mov	$SEL_CODE64 << 16 | (protection - _start + GUEST_MBR), %eax
	mov	$VECTOR_GP, %di
	call	set_gate
	mov	$SEL_CODE64 << 16 | (wake_up - _start + GUEST_MBR), %eax
	mov	$WAKE_VECTOR, %di
	call	set_gate
	mov	$0xFF, %al		/* no interrupts from the PICs */
	out	%al, $0x21
	out	%al, $0xA1
	call	own_id
	mov	%edi, bsp_apic_id

/* EDI: the APIC id of this CPU.  A guest may write EFER as it likes, SVME
 * too. */
to_long_mode:
	enter_long_mode TABLES, SEL_CODE64, (CR0_PG | CR0_PE | CR0_ET)

/* AX: segment. */
copy_stub:
	mov	%ax, %es
	mov	$stub, %si
	xor	%di, %di
	mov	$stub_end - stub, %cx
	rep movsb
	ret

/* EAX: selector and address, DI: vector. */
set_gate:
	shl	$4, %di
	mov	%eax, %es:IDT - TABLES(%di)
	movl	$0x8E00, %es:IDT - TABLES + 4(%di)
	ret

/* Return the APIC id of this CPU in EDI. */
own_id:
	mov	$1, %eax
	xor	%ecx, %ecx
	cpuid
	shr	$24, %ebx
	mov	%ebx, %edi
	ret

/* An AP, in segment 0.  AX: the segment in which it began. */
ap_start:
	mov	%ax, %si
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$1, %eax
	xor	%ecx, %ecx
	cpuid				/* no stack yet */
	shr	$24, %ebx
	mov	%ebx, %edi
	cmp	$MAX_CPUS, %ebx
	jae	1f
	shl	$7, %bx			/* RECORD_SIZE */
	shr	$8, %si
	mov	%si, guest_results + RECORD_VECTOR(%bx)
	lock incl guest_results + RECORD_STARTS(%bx)
	jmp	to_long_mode
1:	hlt
	jmp	1b

	.org	510
	.word	0xAA55			/* a BIOS expects it in an MBR */

gdt:	.quad	0, DESC_CODE64, DESC_DATA
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
idtr:	.word	(WAKE_VECTOR + 1) * 16 - 1
	.long	IDT

/* ---- 64-bit mode ---- */

	.code64

	.org	READY_OFFSET
	.globl	guest_ready, guest_came, guest_acked, guest_done, guest_failed
guest_ready:				/* RBP: the record of this CPU */
	pause
	cmpl	$0, RECORD_COMMAND(%rbp)
	je	guest_ready
	jmp	execute

	.org	CAME_OFFSET
guest_came:
	nop
	jmp	came

	.org	ACKED_OFFSET
guest_acked:
	nop
	jmp	guest_ready

	.org	DONE_OFFSET
guest_done:
	cli
	hlt
	jmp	guest_done

	.org	FAILED_OFFSET
guest_failed:
	cli
	hlt
	jmp	guest_failed

	.code16
	.org	STUB_OFFSET
stub:					/* works at the beginning of any page */
	cli
	mov	%cs, %ax
	ljmp	$0, $ap_start
stub_end:

	.code64
long_mode:				/* EDI: APIC id */
	mov	$SEL_DATA64, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%edi, %eax
	imul	$STACK_SIZE, %eax
	lea	STACKS + STACK_SIZE(%rax), %esp
	mov	%edi, %eax
	imul	$RECORD_SIZE, %eax
	lea	guest_results(%rax), %ebp
	mov	$APIC_BASE, %ebx
	jmp	guest_came

came:
	cmpb	$0, directed
	jne	guest_ready
	cmp	bsp_apic_id, %edi
	je	demonstrate

	/* An AP.  The last one that the BSP starts wakes it. */
	movl	$SVR_ENABLED, APIC_SVR(%rbx)
1:	pause
	cmpl	$NOBODY, wakes_bsp
	je	1b
	cmp	%edi, wakes_bsp
	jne	guest_done
	mov	bsp_apic_id, %ecx
	mov	$ICR_FIXED | WAKE_VECTOR, %eax
	call	send
	jmp	guest_done

/* Execute the code in the record of this CPU. */
execute:
	mov	RECORD_RAX(%rbp), %rax
	mov	RECORD_RCX(%rbp), %rcx
	mov	RECORD_RDX(%rbp), %rdx
	mov	$APIC_BASE, %ebx
	lea	RECORD_CODE(%rbp), %rsi
	call	*%rsi
	movl	$0, RECORD_COMMAND(%rbp)
	jmp	guest_acked

/* An exception ends the code. */
invalid_opcode:
	mov	$0x100 | VECTOR_UD, %eax
	jmp	1f
protection:
	mov	$0x100 | VECTOR_GP, %eax
1:	cmpb	$0, directed
	je	fail
	mov	%eax, RECORD_FAULT(%rbp)
	mov	%ebp, %eax		/* its stack, from its record */
	sub	$guest_results, %eax
	shl	$5, %eax		/* STACK_SIZE / RECORD_SIZE */
	lea	STACKS + STACK_SIZE(%rax), %esp
	movl	$0, RECORD_COMMAND(%rbp)
	jmp	guest_acked

/* ECX: APIC id, EAX: low half of the ICR. */
send:
	shl	$24, %ecx
	mov	%ecx, APIC_ICR2(%rbx)
	mov	%eax, APIC_ICR(%rbx)
	ret

/* ECX: index of an AP.  Return when it has started ESI times. */
await_starts:
	imul	$RECORD_SIZE, %ecx, %edx
1:	pause
	cmp	%esi, guest_results + RECORD_STARTS(%rdx)
	jne	1b
	ret

/* The BSP, if no debugger directs it.  The APs are all that have started after
 * the first SIPI. */
demonstrate:
	movl	$SVR_ENABLED, APIC_SVR(%rbx)
	cmpl	$SVR_ENABLED, APIC_SVR(%rbx)
	jne	fail
	movl	$ICR_OTHERS | ICR_INIT, APIC_ICR(%rbx)
	movl	$ICR_OTHERS | ICR_SIPI | FIRST_VECTOR, APIC_ICR(%rbx)
1:	pause				/* until all have started */
	xor	%eax, %eax
	xor	%ecx, %ecx
2:	imul	$RECORD_SIZE, %ecx, %edx
	add	guest_results + RECORD_STARTS(%rdx), %eax
	inc	%ecx
	cmp	$MAX_CPUS, %ecx
	jb	2b
	inc	%eax
	cmp	%ax, cpus
	jne	1b

	xor	%edi, %edi		/* each one again */
3:	imul	$RECORD_SIZE, %edi, %edx
	cmpl	$0, guest_results + RECORD_STARTS(%rdx)
	je	4f
	mov	%edi, %ecx
	mov	$ICR_INIT, %eax
	call	send
	movl	$ICR_SIPI | SECOND_VECTOR, APIC_ICR(%rbx)
	mov	%edi, %ecx
	mov	$2, %esi
	call	await_starts
	imul	$RECORD_SIZE, %edi, %edx
	cmpl	$SECOND_VECTOR, guest_results + RECORD_VECTOR(%rdx)
	jne	fail
	mov	%edi, %r12d		/* the last one */
4:	inc	%edi
	cmp	$MAX_CPUS, %edi
	jb	3b

	cmpw	$1, cpus
	je	6f			/* nobody would wake this CPU */
	mov	%r12d, wakes_bsp
5:	sti
	hlt
	cli
	cmpl	$0, woken
	je	5b
6:	mov	$text_ok, %esi
	call	print
	jmp	guest_done

wake_up:
	incl	woken
	push	%rbx
	mov	$APIC_BASE, %ebx
	movl	$0, APIC_EOI(%rbx)
	pop	%rbx
	iretq

fail:
	mov	$text_failed, %esi
	call	print
	jmp	guest_failed

/* ESI: the text. */
print:
	mov	$COM1_LSR, %edx
1:	in	%dx, %al
	test	$COM1_LSR_THRE, %al
	jz	1b
	mov	$COM1, %edx
	lodsb
	out	%al, %dx
	cmpb	$0, (%rsi)
	jne	print
	ret

text_ok:
	.asciz	"guest: all processors have started, each one twice\r\n"
text_failed:
	.asciz	"guest: something is wrong\r\n"

	.balign	4
bsp_apic_id:
	.long	0
woken:	.long	0
wakes_bsp:
	.long	NOBODY
loaded:	.long	GUEST_MAGIC
image_end:

	.bss
	.balign	64
	.globl	guest_results
guest_results:
	.skip	MAX_CPUS * RECORD_SIZE
bss_end:
	.section .note.GNU-stack, "", @progbits
