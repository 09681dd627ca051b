/* lab4: one AP at a time. */

#include "todo.h"

/* Takes the lock of the shared boot stack.
 *
 * On entry: an AP, by a jump from ap_entry: long mode, flat segments,
 * interrupts off.  No stack, no per-CPU data, no IDT.  Other APs are here at
 * the same time.  apinitlock points to the lock: a byte, 0 free, 1 taken, as in
 * core/spinlock.c, in 8 bytes of room.  spinlock_unlock (apinitlock) will be
 * called by apinitproc1.
 *
 * Must: jump to ap_locked with the lock taken by this CPU.  All registers but
 * RSP may be changed; nothing may be pushed, nothing called. */
	.text
	.globl	apinit_enter
apinit_enter:
	/* BEGIN SOLUTION lab4.1
	 * TODO(lab4.1): take *apinitlock; while somebody else has it, wait
	 * with pause.
	 * STARTER: VMM_TODO64 (lab4_1)
	 */
	mov	apinitlock, %rdi
1:	mov	$1, %al
	xchg	%al, (%rdi)
	test	%al, %al
	jz	ap_locked
2:	pause
	cmpb	$0, (%rdi)
	jne	2b
	jmp	1b
	/* END SOLUTION */

	.section .note.GNU-stack, "", @progbits
