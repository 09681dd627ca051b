/* The switch is written in assembly outside of any function. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "pcpu.h"

/* rsp is in RDI, jmpto in RSI (psABI 3.2.3) */
asm (".text\n"
     ".globl asm_wrrsp_and_jmp\n"
     "asm_wrrsp_and_jmp:\n"
     "	mov	%rdi, %rsp\n"
     "	xor	%ebp, %ebp\n"
     "	jmp	*%rsi\n");

void
bsp_continue (asmlinkage void (*initproc_arg) (void))
{
	u8 *base = alloc (VMM_STACKSIZE), *end = base + VMM_STACKSIZE;

	currentcpu->stackaddr = base;
	asm_wrrsp_and_jmp ((ulong)end, initproc_arg);
}

void
start_all_processors (void (*bsp_initproc) (void), void (*ap_initproc) (void))
{
	initproc_ap = ap_initproc;
	initproc_bsp = bsp_initproc;
	bsp_continue (bspinitproc1);
}
