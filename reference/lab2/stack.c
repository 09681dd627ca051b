/* lab2: a stack for the BSP. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "pcpu.h"
#include "todo.h"

/* Goes on at jmpto with the stack pointer at rsp, never to return.
 *
 * On entry: any CPU, interrupts off.  jmpto is a function without arguments
 * that does not return; rsp is the end of a stack, 16-byte aligned.
 *
 * Must: at the first instruction of jmpto RSP is exactly rsp and RBP is 0,
 * which ends backtraces.  Nothing is pushed on either stack: no return
 * address.  All that C has written before must be in memory.  It must hold
 * whatever the compiler does with the two arguments; without optimisation they
 * lie on the old stack, and are found by RBP. */
void
asm_wrrsp_and_jmp (ulong rsp, void *jmpto)
{
	/* BEGIN SOLUTION lab2.3
	 * TODO(lab2.3): in inline assembly clear the frame pointer, set the
	 * stack pointer and jump.  Tell the compiler where the operands must
	 * be, that memory is read, and that control does not come back.
	 * STARTER: (void)rsp;
	 * STARTER: (void)jmpto;
	 * STARTER: vmm_todo ("lab2.3");
	 */
#ifdef __x86_64__
	asm volatile("xor %%ebp, %%ebp; mov %0, %%rsp; jmp *%1"
		     :
		     : "r"(rsp), "r"(jmpto)
		     : "memory");
#else
	asm volatile("xor %%ebp, %%ebp; mov %0, %%esp; jmp *%1"
		     :
		     : "r"(rsp), "r"(jmpto)
		     : "memory");
#endif
	__builtin_unreachable ();
	/* END SOLUTION */
}

/* Goes on in initproc_arg on a stack that is this CPU's own.
 *
 * On entry: the BSP, on the boot stack, no lock held; alloc and currentcpu
 * work.  Every AP will come by on the boot stack, so the BSP must leave it.
 *
 * Must: allocate VMM_STACKSIZE bytes, remember the lowest address of them in
 * currentcpu->stackaddr, and enter initproc_arg with RSP at their end. */
void
bsp_continue (asmlinkage void (*initproc_arg) (void))
{
	/* BEGIN SOLUTION lab2.2
	 * TODO(lab2.2): allocate the stack, remember it, go there.
	 * STARTER: (void)initproc_arg;
	 * STARTER: vmm_todo ("lab2.2");
	 */
	void *newstack;

	newstack = alloc (VMM_STACKSIZE);
	currentcpu->stackaddr = newstack;
	asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, initproc_arg);
	/* END SOLUTION */
}

/* Starts everything: bsp_initproc will run on the BSP, ap_initproc on each AP,
 * both on a stack of the CPU's own.
 *
 * On entry: the BSP, on the boot stack, no lock held; all init functions of
 * group "global" have run.
 *
 * Must: remember the two in initproc_bsp and initproc_ap, then let the BSP
 * continue in bspinitproc1 (core/bsp.c). */
void
start_all_processors (void (*bsp_initproc) (void), void (*ap_initproc) (void))
{
	/* BEGIN SOLUTION lab2.1
	 * TODO(lab2.1): remember both functions, continue in bspinitproc1.
	 * STARTER: (void)bsp_initproc;
	 * STARTER: (void)ap_initproc;
	 * STARTER: vmm_todo ("lab2.1");
	 */
	initproc_bsp = bsp_initproc;
	initproc_ap = ap_initproc;
	bsp_continue (bspinitproc1);
	/* END SOLUTION */
}
