/* i386: the switch is a function without prologue; the frame pointer is cleared last. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "pcpu.h"

asmlinkage __attribute__ ((naked)) void
asm_wrrsp_and_jmp (ulong rsp __attribute__ ((unused)), void *jmpto __attribute__ ((unused)))
{
	asm volatile("mov 8(%esp), %edx; mov 4(%esp), %esp; mov $0, %ebp; jmp *%edx");
}

static ulong
new_stack (void)
{
	struct pcpu *cpu = currentcpu;

	cpu->stackaddr = alloc (VMM_STACKSIZE);
	return (ulong)cpu->stackaddr + VMM_STACKSIZE;
}

void
bsp_continue (asmlinkage void (*initproc_arg) (void))
{
	asm_wrrsp_and_jmp (new_stack (), (void *)initproc_arg);
}

void
start_all_processors (void (*bsp_initproc) (void), void (*ap_initproc) (void))
{
	void (**to[2]) (void) = { &initproc_bsp, &initproc_ap };
	void (*from[2]) (void) = { bsp_initproc, ap_initproc };

	for (int i = 0; i < 2; i++)
		*to[i] = from[i];
	bsp_continue (bspinitproc1);
}
