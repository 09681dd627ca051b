/* The VMM's entry on a machine with UEFI.  The EFI loader calls it as a
 * function with Microsoft's convention: 64-bit mode on the firmware's page
 * tables, GDT, IDT and stack, RCX a pointer to struct uefi_boot.  The code runs
 * at its physical address, so what it addresses relative to RIP is there, too.
 * BSS has been cleared. */

#include "layout.h"
#include "uefi.h"
#include "x86.h"

#define PHYS(sym) ((sym) - VMM_BASE)

	.text
	.code64
	.globl	uefi_entry
uefi_entry:
	push	%rbx				/* struct uefi_frame */
	push	%rbp
	push	%rdi
	push	%rsi
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	pushfq
	cli
	cld

	mov	%rcx, %rsi
	lea	uefi_boot(%rip), %rdi
	mov	$UEFI_BOOT_LEN, %ecx
	rep movsb

	lea	uefi_state(%rip), %rbx
	mov	%rsp, UEFI_STATE_RSP(%rbx)
	mov	%cr0, %rax
	mov	%rax, UEFI_STATE_CR0(%rbx)
	mov	%cr3, %rax
	mov	%rax, UEFI_STATE_CR3(%rbx)
	mov	%cr4, %rax
	mov	%rax, UEFI_STATE_CR4(%rbx)
	mov	$MSR_EFER, %ecx
	rdmsr
	mov	%eax, UEFI_STATE_EFER(%rbx)	/* the upper half is 0 */
	mov	$MSR_FS_BASE, %ecx
	rdmsr
	mov	%eax, UEFI_STATE_FS_BASE(%rbx)
	mov	%edx, UEFI_STATE_FS_BASE + 4(%rbx)
	mov	$MSR_GS_BASE, %ecx
	rdmsr
	mov	%eax, UEFI_STATE_GS_BASE(%rbx)
	mov	%edx, UEFI_STATE_GS_BASE + 4(%rbx)
	sgdt	UEFI_STATE_GDTR(%rbx)
	sidt	UEFI_STATE_IDTR(%rbx)
	mov	%cs, UEFI_STATE_CS(%rbx)
	mov	%ss, UEFI_STATE_SS(%rbx)
	mov	%ds, UEFI_STATE_DS(%rbx)
	mov	%es, UEFI_STATE_ES(%rbx)
	mov	%fs, UEFI_STATE_FS(%rbx)
	mov	%gs, UEFI_STATE_GS(%rbx)

	/* The VMM's page tables map this code twice: where it runs, and where
	 * it is linked.  An indirect jump goes from the one to the other. */
	mov	$PHYS (bsp_pagetable), %eax
	mov	%rax, %cr3
	mov	$alias, %eax
	jmp	*%rax
alias:
	mov	$boot_stack_top, %esp
	xor	%ebp, %ebp
	call	early_init			/* loads GDT and IDT */
	xor	%edi, %edi			/* no multiboot information */
	call	vmm_main
	ud2					/* vmm_main does not return */

	.data
	.balign	8
	.ascii	UEFI_ENTRY_MAGIC
	.quad	PHYS (uefi_entry)

	.bss
	.balign	8
	.globl	uefi_state
uefi_state:
	.skip	88

	.section .note.GNU-stack, "", @progbits
