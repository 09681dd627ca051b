/* i386: two functions in assembly, each with its arguments where its declaration puts them. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "pcpu.h"

/* asmlinkage: rsp at 4(%esp), jmpto at 8(%esp) */
asm (".text\n"
     ".globl asm_wrrsp_and_jmp\n"
     "asm_wrrsp_and_jmp:\n"
     "	pop	%ecx\n"
     "	pop	%ecx\n"
     "	pop	%edx\n"
     "	xor	%ebp, %ebp\n"
     "	mov	%ecx, %esp\n"
     "	jmp	*%edx\n");

/* not asmlinkage, and the VMM is compiled with -mregparm=3: EAX, EDX */
asm (".globl start_all_processors\n"
     "start_all_processors:\n"
     "	mov	%edx, initproc_ap\n"
     "	mov	%eax, initproc_bsp\n"
     "	mov	$bspinitproc1, %eax\n"
     "	jmp	bsp_continue\n");

void
bsp_continue (asmlinkage void (*initproc_arg) (void))
{
	u8 *base = alloc (VMM_STACKSIZE), *end = base + VMM_STACKSIZE;

	currentcpu->stackaddr = base;
	asm_wrrsp_and_jmp ((ulong)end, initproc_arg);
}
