/* lab2: fills the new stack with a pattern, so that its use can be measured later. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "pcpu.h"
#include "string.h"

#define PATTERN 0xA5

asmlinkage void
asm_wrrsp_and_jmp (ulong rsp, void *jmpto)
{
#ifdef __x86_64__
	asm volatile("mov %0, %%rsp; xor %%ebp, %%ebp; jmp *%1"
		     :
		     : "a"(rsp), "d"(jmpto)
		     : "memory");
#else
	asm volatile("mov %0, %%esp; xor %%ebp, %%ebp; jmp *%1"
		     :
		     : "a"(rsp), "d"(jmpto)
		     : "memory");
#endif
	__builtin_unreachable ();
}

void
bsp_continue (asmlinkage void (*initproc_arg) (void))
{
	u8 *stack = alloc (VMM_STACKSIZE);

	memset (stack, PATTERN, VMM_STACKSIZE);
	currentcpu->stackaddr = stack;
	asm_wrrsp_and_jmp ((ulong)(stack + VMM_STACKSIZE), initproc_arg);
}

void
start_all_processors (void (*bsp_initproc) (void), void (*ap_initproc) (void))
{
	initproc_bsp = bsp_initproc;
	initproc_ap = ap_initproc;
	bsp_continue (bspinitproc1);
}
