/* A guest that checks whether its VMM keeps what it must keep.  It starts as an
 * MBR does, in real mode at 0:7C00; on each AP it starts in real mode at
 * 0800:0.  All CPUs then go on in 64-bit mode.  It waits for events only, never
 * for a time.
 *
 * Each CPU notes in guest_results how far it has come.  What it finds wrong
 * ends in guest_failed, from where a debugger can let it go on, and a CPU that
 * is through ends in guest_done.  At the end the BSP prints a line on COM1. */

#include "guest.h"
#include "guest_asm.h"
#include "svm.h"
#include "x86.h"

/* Memory that the guest uses, besides this image. */
#define STACK_REAL  0x7000
#define TABLES	    0x10000 /* PML4, PDPT, page directories of 0 and 3 GiB */
#define IDT	    0x14000
#define LDT	    0x15000
#define STACKS	    0x20000 /* 4 KiB for each CPU */
#define STACK_SIZE  0x1000

#define AP_VECTOR ((GUEST_MBR + AP_OFFSET) >> 12)
#define AP_OFFSET 0x400 /* in this image */
#define REAL_FAILED_OFFSET 0x460
#define DONE_OFFSET 0x480
#define FAILED_OFFSET 0x4A0

#define APIC_BASE   0xFEE00000
#define APIC_ID	    0x20
#define APIC_SVR    0xF0
#define APIC_EOI    0xB0
#define APIC_ICR    0x300
#define APIC_ICR2   0x310
#define WAKE_VECTOR 0x40

#define COM1_LINE    0x3FB
#define COM1_MODEM   0x3FC
#define COM1_SCRATCH 0x3FF
#define LINE_8N1     0x03 /* as the VMM has set it */
#define LINE_8N2     0x07
#define MODEM	     0x03 /* as well */
#define MODEM_OUT2   0x08 /* changes nothing */

#define CR0_EM		0x00000004 /* x87 instructions fault */
#define MSR_SYSENTER_CS 0x174

#define SEL_CODE64 0x08
#define SEL_DATA64 0x10
#define SEL_TSS	   0x20 /* 16 bytes for each CPU */
#define SEL_LDT	   0x120
#define MAX_CPUS   16

/* One record of guest_results. */
#define RESULT_STAGE 0	/* how far this CPU has come: STAGE_ */
#define RESULT_CHECK 4	/* what is wrong: CHECK_, 0 for nothing */
#define RESULT_FOUND 8
#define RESULT_WANTED 16
#define RESULT_APIC  24 /* APIC id, from STAGE_LONG on */
#define RESULT_SIZE  32

/* How the BSP ends if a debugger has written it there. */
#define END_SHUTDOWN 1 /* at once, by a triple fault */
#define END_BEYOND   2 /* through, it reads memory that is not the guest's */
#define END_STRING   3 /* through, it executes OUTS to COM1 */
#define END_INS	     4 /* through, it executes INS from COM1 */

#define STAGE_REAL    1 /* exits in real mode are right */
#define STAGE_LONG    2 /* in 64-bit mode */
#define STAGE_CPUID   3
#define STAGE_VMMCALL 4
#define STAGE_IO      5
#define STAGE_STATE   6 /* segments and MSRs across exits */
#define STAGE_HLT     7 /* woken by an interrupt; only the BSP */
#define STAGE_DONE    8

/* What is wrong.  To each of the first five belongs a number: 0 to 14 for a
 * register that has changed, in the order of IN below, 15 for RFLAGS. */
#define CHECK_CPUID   0x100
#define CHECK_VMMCALL 0x200
#define CHECK_OUT     0x300
#define CHECK_IN      0x400
#define CHECK_REAL    0x800
#define CHECK_CPUID_UPPER   0x110 /* an upper half is not 0 */
#define CHECK_CPUID_SVM	    0x120 /* SVM is visible */
#define CHECK_CPUID_SVM_LEAF 0x121
#define CHECK_CPUID_CPU	    0x122 /* another CPU's APIC id */
#define CHECK_CPUID_SUBLEAF 0x123
#define CHECK_CPUNUM	    0x220 /* not this CPU's number */
#define CHECK_CPUNUM_TWICE  0x221
#define CHECK_UNKNOWN	    0x222
#define CHECK_IN8	    0x420
#define CHECK_IN16	    0x421
#define CHECK_IN32	    0x422
#define CHECK_OUT16	    0x423
#define CHECK_IO_PASSED	    0x424
#define CHECK_OUT8	    0x425
#define CHECK_MSR	    0x500 /* plus its place in guest_msrs */
#define CHECK_LDTR	    0x510
#define CHECK_TR	    0x511
#define CHECK_CR2	    0x512
#define CHECK_HLT	    0x600 /* went on before the interrupt came */

/* In 64-bit mode each CPU has a page, whose upper end is its stack.  These are
 * offsets in the page; RBP is its address, which follows from RSP. */
#define IN	 0 /* 16 registers before an exit */
#define OUT	 128 /* and after it */
#define THIS_CPU 256
#define RESULT	 264 /* address of its record */
#define GO_ON	 272 /* RIP and RSP behind what is being checked */
#define MODEM_BEFORE 288

#define REG_RAX	  0
#define REG_RBX	  8
#define REG_RCX	  16
#define REG_RDX	  24
#define REG_FLAGS 120
#define ALL	  0xFFFF
#define RAX_BIT	  1
#define ABCD_BITS 0xF

#define FLAGS	   0x8D7 /* the arithmetic flags, and bit 1 */
#define FLAGS_MASK 0xCD5

	.text
	.code16
	.globl	_start
_start:
	jmp	start
	.org	4
	.long	GUEST_MAGIC
cpus:	.word	1			/* the VMM writes it */
	.byte	AP_VECTOR
end:	.byte	0			/* how to end: END_, from a debugger */

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
1:	cmpb	$END_SHUTDOWN, end
	jne	1f
	mov	cpus, %eax
2:	pause				/* all are in their guests */
	cmp	%ax, arrived
	jb	2b
	lidtl	no_idt			/* no exception can be handled: */
	ud2				/* a triple fault */
1:	xor	%ax, %ax
	mov	$guest_results, %di	/* clear BSS; the APs wait for that */
	mov	$bss_end - guest_results, %cx
	rep stosb
	movb	$1, bss_ready
	xor	%edi, %edi		/* this CPU */
	call	real_mode

	identity_tables TABLES, 0x6000
	movl	$SEL_CODE64 << 16 | (wake_up - _start + GUEST_MBR), \
		%es:IDT - TABLES + WAKE_VECTOR * 16
	movl	$0x8E00, %es:IDT - TABLES + WAKE_VECTOR * 16 + 4
	mov	$0xFF, %al		/* no interrupts from the PICs */
	out	%al, $0x21
	out	%al, $0xA1
	xor	%edi, %edi
	movb	$1, tables_ready
	jmp	to_long_mode

/* EDI: this CPU.  Exits in real mode. */
real_mode:
	mov	$0x51515151, %esi
	mov	$0xB9B9B9B9, %ebp
	mov	$CPUID_EXT, %eax
	xor	%ecx, %ecx
	push	%edi
	mov	$0xD1D1D1D1, %edi
	cpuid
	mov	$CHECK_REAL, %eax
	cmp	$0x51515151, %esi
	jne	1f
	inc	%ax
	cmp	$0xB9B9B9B9, %ebp
	jne	1f
	inc	%ax
	cmp	$0xD1D1D1D1, %edi
	jne	1f
	inc	%ax
	test	$CPUID_EXT_ECX_SVM, %cl
	jnz	1f
	pop	%edi
	mov	%di, %bx
	shl	$5, %bx
	movb	$STAGE_REAL, guest_results + RESULT_STAGE(%bx)
	ret
1:	pop	%edi
	lock bts %edi, gone
	mov	%di, %bx
	shl	$5, %bx
	mov	%ax, guest_results + RESULT_CHECK(%bx)
	jmp	real_mode_failed

/* EDI: this CPU.  A guest may write EFER as it likes, SVME too. */
to_long_mode:
	enter_long_mode TABLES, SEL_CODE64, (CR0_PG | CR0_PE | CR0_ET | CR0_EM)

	.org	510
	.word	0xAA55			/* a BIOS expects it in an MBR */

gdt:	.quad	0, DESC_CODE64, DESC_DATA, 0
	.set	cpu, 0
	.rept	MAX_CPUS		/* a TSS for each CPU: LTR marks it */
	.quad	0x0000890000000067 | ((LDT + 0x100 + cpu * 0x80) << 16), 0
	.set	cpu, cpu + 1
	.endr
	.quad	0x00008200000000FF | (LDT & 0xFFFF) << 16 | (LDT >> 16) << 32, 0
gdtr:	.word	gdtr - gdt - 1
	.long	gdt
idtr:	.word	WAKE_VECTOR * 16 + 15
	.long	IDT
no_idt:	.word	0
	.long	0
bss_ready:
	.byte	0
tables_ready:
	.byte	0

/* An AP. */
	.org	AP_OFFSET
ap_start:
	cli
	ljmp	$0, $1f			/* segment 0, as _start */
1:	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$1, %edi
	lock xadd %edi, arrived
2:	pause
	cmpb	$0, bss_ready
	je	2b
	cmp	$MAX_CPUS, %edi
	jae	1f
	mov	%edi, %eax		/* a stack of its own: see below */
	shl	$7, %ax
	add	$ap_stacks, %ax
	mov	%ax, %sp
	call	real_mode
2:	pause
	cmpb	$0, tables_ready
	je	2b
	jmp	to_long_mode
1:	hlt
	jmp	1b

	.org	REAL_FAILED_OFFSET
real_mode_failed:
	cli
	hlt
	jmp	real_mode_failed
arrived:
	.long	1			/* the BSP */

/* ---- 64-bit mode ---- */

	.code64

/* The ends, where a debugger finds them. */
	.org	DONE_OFFSET
	.globl	guest_done, guest_failed
guest_done:
	cli
	hlt
	jmp	guest_done

	.org	FAILED_OFFSET
guest_failed:
	cli
	hlt
	jmp	guest_failed

long_mode:				/* EDI: this CPU */
	mov	$SEL_DATA64, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%edi, %eax
	imul	$STACK_SIZE, %eax
	lea	STACKS(%rax), %ebp
	lea	STACK_SIZE(%rbp), %rsp
	mov	%edi, %edi		/* clears the upper half */
	mov	%rdi, THIS_CPU(%rbp)
	mov	%edi, %eax
	imul	$RESULT_SIZE, %eax
	add	$guest_results, %eax
	mov	%rax, RESULT(%rbp)
	mov	$APIC_BASE, %ecx
	mov	APIC_ID(%rcx), %ecx
	shr	$24, %ecx
	mov	%rcx, RESULT_APIC(%rax)
	movl	$STAGE_LONG, RESULT_STAGE(%rax)

	.macro	attempt check
	movq	$.Lbehind\@, GO_ON(%rbp)
	mov	%rsp, GO_ON + 8(%rbp)
	call	\check
.Lbehind\@:
	.endm

	.macro	together check, offset
	mov	$met + \offset, %edi
	call	meet
	attempt	\check
	.endm

	together check_cpuid, 0
	together check_vmmcall, 4
	together check_io, 8
	together check_state, 12
	cmpl	$0, THIS_CPU(%rbp)
	jne	ap_wakes_bsp
	attempt	check_hlt

	/* The BSP: wait for all others, then print. */
1:	pause
	movzwl	cpus, %eax
	dec	%eax
	cmp	%eax, aps_done
	jb	1b
	cmpb	$END_BEYOND, end
	jne	1f
	mov	0x100000, %eax		/* the VMM's memory: not there */
1:	cmpb	$END_STRING, end
	jne	1f
	mov	$text_ok, %esi
	mov	$COM1, %edx
	outsb
1:	cmpb	$END_INS, end
	jne	1f
	mov	$woken, %edi
	mov	$COM1, %edx
	insb
1:	mov	$text_ok, %esi
	call	print
	jmp	done

ap_wakes_bsp:
	cmpl	$1, THIS_CPU(%rbp)	/* only one of them */
	jne	2f
1:	pause
	cmpl	$0, bsp_waits
	je	1b
	mov	$32, %r12d		/* the BSP executes HLT meanwhile */
1:	xor	%eax, %eax
	cpuid
	dec	%r12d
	jnz	1b
	mov	bsp_apic_id, %edi
	call	send_wake_up
2:	lock incl aps_done

done:
	mov	RESULT(%rbp), %rax
	movl	$STAGE_DONE, RESULT_STAGE(%rax)
	jmp	guest_done

/* EAX: a CHECK_.  RBX: what was found, RCX: what was wanted. */
fail:
	mov	RESULT(%rbp), %rdx
	mov	%rbx, RESULT_FOUND(%rdx)
	mov	%rcx, RESULT_WANTED(%rdx)
	mov	%eax, RESULT_CHECK(%rdx)
	cmp	$CHECK_OUT, %eax	/* in check_io: let the others try */
	jb	1f
	cmp	$CHECK_MSR, %eax
	jae	1f
	movb	$0, scratch_lock
1:	mov	THIS_CPU(%rbp), %eax
	lock bts %eax, gone
	mov	$console_lock, %edi
	call	lock
	mov	$text_failed, %esi
	call	print
	movb	$0, console_lock
	jmp	guest_failed

/* Fail with this check unless RBX is RCX. */
	.macro	equal check
	mov	$\check, %eax
	cmp	%rbx, %rcx
	jne	fail
	.endm

	.macro	reached stage
	mov	RESULT(%rbp), %rax
	movl	$\stage, RESULT_STAGE(%rax)
	.endm

/* Fill IN with values that no VMM has in its registers by chance. */
fill_registers:
	mov	THIS_CPU(%rbp), %rax
	inc	%rax
	movabs	$0x0123456789ABCDEF, %rcx
	imul	%rcx, %rax
	movabs	$0x1F3D5B79A8C6E402, %rdx
	xor	%ecx, %ecx
1:	mov	%rax, IN(%rbp, %rcx, 8)
	add	%rdx, %rax
	inc	%ecx
	cmp	$15, %ecx
	jb	1b
	movq	$FLAGS, IN + REG_FLAGS(%rbp)
	ret

/* Load all registers from IN, call the code at RSI, store them in OUT. */
exit_with_registers:
	push	%rsi
	push	IN + REG_FLAGS(%rbp)
	popfq
	mov	IN(%rbp), %rax
	mov	IN + 8(%rbp), %rbx
	mov	IN + 16(%rbp), %rcx
	mov	IN + 24(%rbp), %rdx
	mov	IN + 32(%rbp), %rsi
	mov	IN + 40(%rbp), %rdi
	mov	IN + 56(%rbp), %r8
	mov	IN + 64(%rbp), %r9
	mov	IN + 72(%rbp), %r10
	mov	IN + 80(%rbp), %r11
	mov	IN + 88(%rbp), %r12
	mov	IN + 96(%rbp), %r13
	mov	IN + 104(%rbp), %r14
	mov	IN + 112(%rbp), %r15
	mov	IN + 48(%rbp), %rbp	/* last: it was the pointer */
	call	*(%rsp)
	pushfq
	push	%rbp
	mov	%rsp, %rbp
	and	$-STACK_SIZE, %rbp
	mov	%rax, OUT(%rbp)
	mov	%rbx, OUT + 8(%rbp)
	mov	%rcx, OUT + 16(%rbp)
	mov	%rdx, OUT + 24(%rbp)
	mov	%rsi, OUT + 32(%rbp)
	mov	%rdi, OUT + 40(%rbp)
	pop	OUT + 48(%rbp)
	mov	%r8, OUT + 56(%rbp)
	mov	%r9, OUT + 64(%rbp)
	mov	%r10, OUT + 72(%rbp)
	mov	%r11, OUT + 80(%rbp)
	mov	%r12, OUT + 88(%rbp)
	mov	%r13, OUT + 96(%rbp)
	mov	%r14, OUT + 104(%rbp)
	mov	%r15, OUT + 112(%rbp)
	pop	OUT + REG_FLAGS(%rbp)
	andq	$FLAGS_MASK, OUT + REG_FLAGS(%rbp)
	andq	$FLAGS_MASK, IN + REG_FLAGS(%rbp)
	cld
	add	$8, %rsp
	ret

/* A VMM that continues a byte too late finds UD2, and x87 code faults. */
do_cpuid:
	cpuid
	ret
	ud2
do_vmmcall:
	vmmcall
	ret
	ud2
do_out8:
	out	%al, %dx
	ret
	ud2
do_out16:
	out	%ax, %dx
	ret
	ud2
do_in8:
	in	%dx, %al
	ret
	ud2
do_in16:
	in	%dx, %ax
	ret
	ud2
do_in32:
	in	%dx, %eax
	ret
	ud2

/* Fail unless these registers are as before: EDX has a bit for each.  EAX: the
 * CHECK_ of the first register. */
registers_same:
	xor	%esi, %esi
1:	bt	%esi, %edx
	jnc	2f
	mov	OUT(%rbp, %rsi, 8), %rbx
	mov	IN(%rbp, %rsi, 8), %rcx
	cmp	%rbx, %rcx
	jne	fail
2:	inc	%eax
	inc	%esi
	cmp	$16, %esi
	jb	1b
	ret

	.macro	exit_by code
	mov	$\code, %esi
	call	exit_with_registers
	.endm

/* CPUID with this leaf and subleaf; the upper halves are not 0. */
	.macro	ask_cpuid leaf, subleaf
	call	fill_registers
	movl	$\leaf, IN + REG_RAX(%rbp)
	movl	$\subleaf, IN + REG_RCX(%rbp)
	exit_by	do_cpuid
	.endm

check_cpuid:
	ask_cpuid CPUID_EXT, 0
	mov	$CHECK_CPUID, %eax
	mov	$ALL & ~ABCD_BITS, %edx
	call	registers_same
	xor	%esi, %esi
1:	mov	OUT(%rbp, %rsi, 8), %rbx
	mov	%ebx, %ecx
	lea	CHECK_CPUID_UPPER(%rsi), %eax
	cmp	%rbx, %rcx
	jne	fail
	inc	%esi
	cmp	$4, %esi
	jb	1b
	mov	OUT + REG_RCX(%rbp), %rbx
	mov	%rbx, %rcx
	and	$~CPUID_EXT_ECX_SVM, %rcx
	equal	CHECK_CPUID_SVM
	ask_cpuid CPUID_SVM, 0
	mov	OUT + REG_RAX(%rbp), %rbx
	or	OUT + REG_RBX(%rbp), %rbx
	or	OUT + REG_RCX(%rbp), %rbx
	or	OUT + REG_RDX(%rbp), %rbx
	xor	%ecx, %ecx
	equal	CHECK_CPUID_SVM_LEAF
	ask_cpuid 1, 0
	mov	OUT + REG_RBX(%rbp), %ebx
	shr	$24, %ebx
	mov	$APIC_BASE, %ecx
	mov	APIC_ID(%rcx), %ecx
	shr	$24, %ecx
	equal	CHECK_CPUID_CPU
	ask_cpuid 0, 0
	cmpl	$CPUID_TOPOLOGY, OUT + REG_RAX(%rbp)
	jb	1f
	ask_cpuid CPUID_TOPOLOGY, 1	/* CL is the subleaf again */
	movzbl	OUT + REG_RCX(%rbp), %ebx
	mov	$1, %ecx
	cmpl	$0, OUT + REG_RBX(%rbp)	/* no such leaf */
	je	1f
	equal	CHECK_CPUID_SUBLEAF
1:	reached	STAGE_CPUID
	ret

check_vmmcall:
	call	fill_registers
	movl	$VMMCALL_CPUNUM, IN + REG_RAX(%rbp)
	exit_by	do_vmmcall
	mov	$CHECK_VMMCALL, %eax
	mov	$ALL & ~RAX_BIT, %edx
	call	registers_same
	mov	OUT + REG_RAX(%rbp), %rbx
	movzwl	cpus, %ecx
	mov	$CHECK_CPUNUM, %eax
	cmp	%rcx, %rbx
	jae	fail
	xor	%ecx, %ecx
	cmpl	$0, THIS_CPU(%rbp)	/* the BSP is 0 */
	jne	1f
	equal	CHECK_CPUNUM
1:	mov	$CHECK_CPUNUM_TWICE, %eax
	lock bts %ebx, numbers
	jc	fail
	call	fill_registers
	movl	$0x7FFFFFFF, IN + REG_RAX(%rbp)
	exit_by	do_vmmcall
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	$VMMCALL_UNKNOWN, %rcx
	equal	CHECK_UNKNOWN
	reached	STAGE_VMMCALL
	ret

/* An access of a port, with RAX as in IN but for its lowest bits. */
	.macro	access port
	call	fill_registers
	mov	$\port, %eax
	mov	%ax, IN + REG_RDX(%rbp)
	.endm

	.macro	out8 port, value
	access	\port
	movb	$\value, IN + REG_RAX(%rbp)
	exit_by	do_out8
	.endm

	.macro	out16 port, value
	access	\port
	movw	$\value, IN + REG_RAX(%rbp)
	exit_by	do_out16
	.endm

	.macro	in8 port, value, check
	access	\port
	exit_by	do_in8
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	IN + REG_RAX(%rbp), %rcx
	mov	$\value, %cl
	equal	\check
	.endm

/* All CPUs have the same COM1: after the first access, which several make at
 * the same time, it is one CPU's at a time.
 *
 * COM1's line control, modem control and scratch register keep what is written
 * there.  An access that is wider than it should be stays within COM1 until the
 * narrower ones are known to be right. */
check_io:
	access	COM1_MODEM
	exit_by	do_in8
	mov	$scratch_lock, %edi
	call	lock
	access	COM1_MODEM
	exit_by	do_in8
	mov	$CHECK_IN, %eax
	mov	$ALL & ~RAX_BIT, %edx
	call	registers_same
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	%rbx, MODEM_BEFORE(%rbp)
	mov	IN + REG_RAX(%rbp), %rcx
	mov	%bl, %cl
	equal	CHECK_IN8

	out8	COM1_LINE, LINE_8N2
	mov	$CHECK_OUT, %eax
	mov	$ALL, %edx
	call	registers_same
	in8	COM1_LINE, LINE_8N2, CHECK_IN8
	access	COM1_MODEM
	exit_by	do_in8
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	MODEM_BEFORE(%rbp), %rcx
	equal	CHECK_OUT8

	out16	COM1_LINE, (MODEM | MODEM_OUT2) << 8 | LINE_8N2
	in8	COM1_MODEM, MODEM | MODEM_OUT2, CHECK_OUT16
	access	COM1_LINE
	exit_by	do_in16
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	IN + REG_RAX(%rbp), %rcx
	mov	$(MODEM | MODEM_OUT2) << 8 | LINE_8N2, %cx
	equal	CHECK_IN16

	out8	COM1_SCRATCH, 0xA5
	out16	COM1_MODEM, MODEM | MODEM_OUT2	/* the status is read only */
	in8	COM1_SCRATCH, 0xA5, CHECK_OUT16
	access	COM1_MODEM
	exit_by	do_in32
	mov	OUT + REG_RAX(%rbp), %rbx
	mov	%ebx, %ecx		/* the status may be anything */
	and	$0x00FFFF00, %ecx
	or	$0xA5000000 | MODEM | MODEM_OUT2, %ecx
	equal	CHECK_IN32
	out8	COM1_LINE, LINE_8N1
	out8	COM1_MODEM, MODEM

	mov	$0xCF8, %edx		/* a port that need not exit */
	mov	$0x80000000, %eax
	out	%eax, %dx
	xor	%eax, %eax
	in	%dx, %eax
	mov	%eax, %ebx
	mov	$0x80000000, %ecx
	equal	CHECK_IO_PASSED
	movb	$0, scratch_lock
	reached	STAGE_IO
	ret

/* Segments and MSRs that only VMSAVE and VMLOAD keep. */
check_state:
	xor	%esi, %esi
1:	mov	guest_msrs(, %rsi, 4), %ecx
	call	msr_value
	mov	%rax, %rdx
	shr	$32, %rdx
	wrmsr
	inc	%esi
	cmp	$(guest_msrs_end - guest_msrs) / 4, %esi
	jb	1b
	mov	$SEL_LDT, %eax
	lldt	%ax
	mov	THIS_CPU(%rbp), %rax
	shl	$4, %eax
	add	$SEL_TSS, %eax
	ltr	%ax
	movabs	$0x0000123456789ABC, %rax
	mov	%rax, %cr2

	xor	%eax, %eax
	cpuid
	mov	$VMMCALL_CPUNUM, %eax
	vmmcall

	xor	%esi, %esi
1:	mov	guest_msrs(, %rsi, 4), %ecx
	call	msr_value
	mov	%rax, %rbx
	rdmsr
	shl	$32, %rdx
	or	%rdx, %rax
	mov	%rbx, %rcx
	mov	%rax, %rbx
	lea	CHECK_MSR(%rsi), %eax
	cmp	%rbx, %rcx
	jne	fail
	inc	%esi
	cmp	$(guest_msrs_end - guest_msrs) / 4, %esi
	jb	1b
	xor	%ebx, %ebx
	sldt	%bx
	mov	$SEL_LDT, %ecx
	equal	CHECK_LDTR
	xor	%ebx, %ebx
	str	%bx
	mov	THIS_CPU(%rbp), %rcx
	shl	$4, %ecx
	add	$SEL_TSS, %ecx
	equal	CHECK_TR
	mov	%cr2, %rbx
	movabs	$0x0000123456789ABC, %rcx
	equal	CHECK_CR2
	reached	STAGE_STATE
	ret

/* Return in RAX what this CPU writes to MSR ECX, which is number ESI of
 * guest_msrs. */
msr_value:
	mov	THIS_CPU(%rbp), %rax
	shl	$8, %eax
	lea	0x5C350000(%rax, %rsi), %rax
	cmp	$MSR_SYSENTER_CS, %ecx
	jne	1f
	movzwl	%ax, %eax		/* a selector */
1:	ret

guest_msrs:
	.long	0xC0000100, 0xC0000101, 0xC0000102	/* FS, GS, kernel GS */
	.long	0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084	/* SYSCALL */
	.long	MSR_SYSENTER_CS, 0x175, 0x176			/* SYSENTER */
guest_msrs_end:

/* HLT waits for an interrupt, which an AP sends. */
check_hlt:
	mov	$APIC_BASE, %edx
	movl	$0x1FF, APIC_SVR(%rdx)	/* APIC on */
	mov	APIC_ID(%rdx), %edi
	shr	$24, %edi
	mov	%edi, bsp_apic_id
	cmpw	$1, cpus
	je	2f			/* nobody would wake this CPU */
	movl	$1, bsp_waits
	sti
	hlt
	cli
	mov	woken, %ebx
	mov	$1, %ecx
	equal	CHECK_HLT
2:	reached	STAGE_HLT
	ret

/* EDI: APIC id. */
send_wake_up:
	mov	$APIC_BASE, %edx
	shl	$24, %edi
	mov	%edi, APIC_ICR2(%rdx)
	movl	$0x4000 | WAKE_VECTOR, APIC_ICR(%rdx)
	ret

wake_up:
	lock incl woken
	push	%rdx
	mov	$APIC_BASE, %edx
	movl	$0, APIC_EOI(%rdx)
	pop	%rdx
	iretq

/* RDI: a word with a bit for each CPU.  Wait until all CPUs of this guest are
 * here, so that what one of them does next does not depend on how far others
 * have come.  Nobody waits for those that have found something wrong. */
meet:
	mov	THIS_CPU(%rbp), %eax
	lock btr %eax, gone		/* a debugger has let it go on */
	lock bts %eax, (%rdi)
1:	pause
	mov	arrived, %ecx
	mov	$1, %eax
	shl	%cl, %eax
	dec	%eax
	mov	gone, %edx
	or	(%rdi), %edx
	not	%edx
	test	%edx, %eax
	jnz	1b
	ret

/* RDI: the lock. */
lock:
	lock btsl $0, (%rdi)
	jnc	2f
1:	pause
	testb	$1, (%rdi)
	jnz	1b
	jmp	lock
2:	ret

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
	.asciz	"guest: all is well\r\n"
text_failed:
	.asciz	"guest: something is wrong\r\n"

	.balign	4
console_lock:
	.long	0
scratch_lock:
	.long	0
bsp_waits:
	.long	0
bsp_apic_id:
	.long	0
woken:	.long	0
aps_done:
	.long	0
numbers:
	.long	0
gone:	.long	0
met:	.long	0, 0, 0, 0
loaded:	.long	GUEST_MAGIC
image_end:

	.bss
	.balign	64
	.globl	guest_results, guest_results_end
guest_results:
	.skip	MAX_CPUS * RESULT_SIZE
guest_results_end:
ap_stacks:
	.skip	MAX_CPUS * 128 + 128
bss_end:
	.section .note.GNU-stack, "", @progbits
