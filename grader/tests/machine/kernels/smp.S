/*
 * A tiny multiboot1 kernel that starts every other processor with INIT and SIPI
 * by shorthand. It exists to try the machine package, not to be a good VMM.
 *
 * Physical 0 gets a far jump to the trampoline at 0x8000, the SIPI vector is 0.
 * An AP goes real mode -> protected mode -> long mode and spins in ap_spin,
 * counting in its own slot of `slots`.
 *
 * Built with -D: NO_APS, AP_TRIPLE, AP_TRIPLE_REAL, AP_HLT, AP_RACE, BSP_TRIPLE, RESET,
 * POWER_OFF, SUSPEND, SHOUT, FLOOD_SERIAL, FLOOD_PORT, FLOOD_ICR, FLOOD_INT.
 */
	.set	TRAMPOLINE, 0x8000
	.set	ICR_LOW, 0xfee00300
	.set	COM1, 0x3f8

	.text
	.align	4
	.long	0x1badb002, 0, -0x1badb002
	.code32
	.globl	start
start:
	mov	$stack_top, %esp
	cld
	mov	$'B', %al
	call	putc

	/* Page tables: 2 MiB pages, the first GiB only. */
	mov	$pdpt + 3, %eax
	mov	%eax, pml4
	mov	$pd + 3, %eax
	mov	%eax, pdpt
	mov	$pd, %edi
	mov	$0x83, %eax
	mov	$512, %ecx
1:	mov	%eax, (%edi)
	movl	$0, 4(%edi)
	add	$8, %edi
	add	$0x200000, %eax
	loop	1b

	mov	$tramp_start, %esi
	mov	$TRAMPOLINE, %edi
	mov	$tramp_end - tramp_start, %ecx
	rep movsb
	/* ljmpw $TRAMPOLINE >> 4, $0: ea 00 00 00 08 */
	movl	$0x000000ea, 0
	movb	$TRAMPOLINE >> 12, 4

#ifdef BSP_TRIPLE
	lidt	null_idt
	.globl	bsp_fault
bsp_fault:
	ud2
#endif
#ifdef POWER_OFF
	/* PM1a_CNT of the ICH9 as qboot places it: SLP_EN, type 0 is S5. */
	mov	$0x604, %dx
	mov	$0x2000, %ax
	out	%ax, %dx
#endif
#ifdef SUSPEND
	mov	$0x604, %dx
	mov	$0x2400, %ax
	out	%ax, %dx
#endif
#ifndef NO_APS
	.globl	send_init
send_init:
	movl	$0xc4500, ICR_LOW
	mov	$2000, %ecx
	call	delay
	.globl	send_sipi
send_sipi:
	movl	$0xc4600, ICR_LOW
	mov	$2000, %ecx
	call	delay
	movl	$0xc4600, ICR_LOW
#endif
	.globl	after_sipi
after_sipi:
#ifdef RESET
	mov	$6, %al
	mov	$0xcf9, %dx
	.globl	asks_for_reset
asks_for_reset:
	out	%al, %dx
#endif
#ifdef FLOOD_SERIAL
1:	mov	$'x', %al
	mov	$COM1, %dx
	out	%al, %dx
	jmp	1b
#endif
#ifdef FLOOD_PORT
1:	out	%al, $0x80
	jmp	1b
#endif
#ifdef FLOOD_ICR
	/* NMI to nobody: physical destination 0xfe does not exist. */
	movl	$0xfe000000, 0xfee00310
1:	movl	$0x400, ICR_LOW
	jmp	1b
#endif
#ifdef FLOOD_INT
	/* Gate 0x80 of an IDT: a 32-bit interrupt gate to `nothing`. */
	lgdt	gdt_ptr_here
	ljmp	$8, $1f
1:	mov	$nothing, %eax
	mov	%ax, idt + 0x80 * 8
	movw	$8, idt + 0x80 * 8 + 2
	movw	$0x8e00, idt + 0x80 * 8 + 4
	shr	$16, %eax
	mov	%ax, idt + 0x80 * 8 + 6
	lidt	idt_ptr
1:	int	$0x80
	jmp	1b
nothing:
	iret
#endif
#ifdef SHOUT
	mov	$shout, %esi
1:	lodsb
	test	%al, %al
	jz	2f
	call	putc
	jmp	1b
2:
#endif
	.globl	bsp_spin
bsp_spin:
	incl	slots
	pause
	jmp	bsp_spin

	/* Waits until the transmitter is empty, then sends %al. */
putc:
	mov	%al, %bl
	mov	$COM1 + 5, %dx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	%bl, %al
	mov	$COM1, %dx
	out	%al, %dx
	ret

delay:
	pause
	in	$0x80, %al
	loop	delay
	ret

	/* What an AP runs, copied to TRAMPOLINE. CS:IP = 0800:0000. */
	.code16
	.globl	tramp_start
tramp_start:
	cli
	mov	%cs, %ax
	mov	%ax, %ds
	mov	$1, %eax
	lock xaddl %eax, (ap_count - tramp_start)
	mov	%eax, %esi
	lgdtl	(gdt_ptr - tramp_start)
#ifdef AP_TRIPLE_REAL
	lidtl	(null_idt16 - tramp_start)
	.globl	ap_fault
ap_fault:
	ud2
#endif
#ifdef AP_TRIPLE
	lidtl	(null_idt16 - tramp_start)
#endif
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	ljmpl	$8, $(TRAMPOLINE + prot - tramp_start)
	.code32
prot:
	mov	$16, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
#ifdef AP_TRIPLE
	ud2
#endif
	mov	%cr4, %eax
	or	$0x20, %eax
	mov	%eax, %cr4
	mov	$pml4, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	ljmpl	$24, $(TRAMPOLINE + long - tramp_start)
	.code64
long:
	mov	$ap_entry, %rax
	jmp	*%rax
	.align	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
	.quad	0x00af9b000000ffff
gdt_ptr:
	.word	. - gdt - 1
	.long	TRAMPOLINE + gdt - tramp_start
null_idt16:
	.word	0
	.long	0
	.align	4
	.globl	ap_count
ap_count:
	.long	1
	.globl	tramp_end
tramp_end:

	.code64
	.globl	ap_entry
ap_entry:
	mov	%esi, %esi
	lea	slots(, %rsi, 8), %rdi
	movabs	$0x1122334455667788, %r15
#ifdef AP_HLT
	.globl	ap_hlt
ap_hlt:
	hlt
	.globl	ap_after_hlt
ap_after_hlt:
	nop
#endif
#ifdef AP_RACE
	/* Everybody writes the same word, again and again. */
	.globl	ap_race
ap_race:
	incl	(%rdi)
	.globl	ap_store
ap_store:
	movl	%esi, shared
	.globl	ap_stored
ap_stored:
	nop
	jmp	ap_race
#endif
	.globl	ap_spin
ap_spin:
	incl	(%rdi)
	pause
	jmp	ap_spin

	.data
	.align	4
null_idt:
	.word	0
	.long	0
gdt_ptr_here:
	.word	31
	.long	gdt
idt_ptr:
	.word	0x81 * 8 - 1
	.long	idt
shout:	.asciz	"plain \033[31mred\033[0m\007 tab\there\r\nlast \377\n"
	.bss
	.align	4096
pml4:	.skip	4096
pdpt:	.skip	4096
pd:	.skip	4096
	.skip	4096
stack_top:
	.globl	slots
	.align	8
slots:	.skip	256 * 8
	.globl	shared
shared:	.skip	8
idt:	.skip	0x81 * 8
