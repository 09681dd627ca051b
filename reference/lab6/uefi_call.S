/* lab6: calling the firmware.
 *
 * u64 uefi_call (u64 function, u64 a, u64 b, u64 c, u64 d)
 *
 * Call a function of the firmware with four arguments, and return what it
 * returns.
 *
 * On entry: the BSP, called by C code of the VMM (psABI), no lock held,
 * interrupts off.  The machine was booted by UEFI and the firmware's boot
 * services are still there.  function is its physical address.  A pointer among
 * the arguments is a physical address, too: the firmware knows no other.
 *
 * Must: call function as its code expects it, in the state that uefi_state has
 * (include/uefi.h):
 * - CR3, GDTR, IDTR, CS, SS, DS and ES are the firmware's.
 * - RSP is in the firmware's stack, below uefi_state.rsp, and a multiple of 16
 *   where the call instruction is.  Memory from uefi_state.rsp on stays as it
 *   is.
 * - Microsoft's calling convention: a is in RCX, b in RDX, c in R8, d in R9,
 *   all 64 bits of each.  Above the return address there are 32 bytes that
 *   function may overwrite.
 * Interrupts stay off until function is called, and RFLAGS.DF is 0 then.  It
 * may turn interrupts on, and it preserves RBX, RBP, RDI, RSI and R12 to R15
 * only.
 *
 * Then come back whole: CR3, GDTR, IDTR, CS, SS, DS, ES and RSP are as they
 * were on entry, so are RBX, RBP and R12 to R15 and the base of GS, interrupts
 * are off, RFLAGS.DF is 0, and RAX holds all 64 bits that function returned.
 * Interrupts are off before anything of the VMM's is in use again.  uefi_state
 * is as it was: the next call begins with it, too. */

#include "layout.h"
#include "todo.h"
#include "uefi.h"
#include "x86.h"

	.text
	.code64
	.globl	uefi_call
uefi_call:
	/* BEGIN SOLUTION lab6.2
	 * TODO(lab6.2):
	 * STARTER: VMM_TODO64 (lab6_2)
	 */
	push	%rbx
	push	%rbp
	push	%r12
	sub	$32, %rsp
	sgdt	(%rsp)
	sidt	16(%rsp)

	/* What the firmware preserves: RBP and R12 hold what leads back. */
	mov	%rsp, %rbp
	mov	%cr3, %r12

	/* The firmware's page tables do not map the alias that this code runs
	 * in.  ap_pagetable has both the alias and the identity map: go there
	 * first, and on to the physical address. */
	mov	$ap_pagetable - VMM_BASE, %eax
	mov	%rax, %cr3
	mov	$1f - VMM_BASE, %eax
	jmp	*%rax
1:
	lea	uefi_state(%rip), %rbx		/* its physical address */
	mov	UEFI_STATE_CR3(%rbx), %rax
	mov	%rax, %cr3
	mov	UEFI_STATE_RSP(%rbx), %rsp
	and	$-16, %rsp
	lgdt	UEFI_STATE_GDTR(%rbx)
	lidt	UEFI_STATE_IDTR(%rbx)
	mov	UEFI_STATE_SS(%rbx), %ss
	mov	UEFI_STATE_DS(%rbx), %ds
	mov	UEFI_STATE_ES(%rbx), %es
	movzwl	UEFI_STATE_CS(%rbx), %eax	/* CS: by a far return */
	push	%rax
	lea	2f(%rip), %rax
	push	%rax
	lretq
2:
	/* END SOLUTION */

	/* BEGIN SOLUTION lab6.2
	 * TODO(lab6.2): move the arguments from the psABI's registers to those
	 * of Microsoft's convention, make room for four, and call.
	 * STARTER:
	 */
	mov	%rdi, %rax			/* function */
	mov	%r8, %r9			/* d */
	mov	%rcx, %r8			/* c, before RCX gets a */
	mov	%rsi, %rcx			/* a; b is in RDX already */
	sub	$32, %rsp
	call	*%rax
	/* END SOLUTION */

	/* BEGIN SOLUTION lab6.3
	 * TODO(lab6.3):
	 * STARTER: VMM_TODO_UEFI (lab6_3)
	 */
	cli					/* they may be on: RestoreTPL */
	mov	$ap_pagetable - VMM_BASE, %ecx
	mov	%rcx, %cr3
	mov	$3f, %ecx			/* the alias */
	jmp	*%rcx
3:
	mov	%r12, %cr3
	mov	%rbp, %rsp
	lgdt	(%rsp)
	lidt	16(%rsp)
	mov	$SEL_DATA, %ecx
	mov	%ecx, %ss
	mov	%ecx, %ds
	mov	%ecx, %es
	push	$SEL_CODE
	push	$4f
	lretq
4:
	add	$32, %rsp
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
	/* END SOLUTION */

	.section .note.GNU-stack, "", @progbits
