#include "types.h"
#include "linkage.h"
#include "ap.h"
#include "mm.h"
#include "pcpu.h"
#include "cohort.h"
void asm_wrrsp_and_jmp(ulong S,void*J){__asm__ __volatile__("movq %%rcx,%%rsp\n\tmovl $0,%%ebp\n\tjmpq *%%rdx"::"c"(S),"d"(J):"memory","cc");for(;;);}
void bsp_continue(asmlinkage void(*F)(void)){
 ulong a,n=VMM_STACKSIZE;a=(ulong)alloc(n);get_currentcpu()->stackaddr=(void*)a;a+=n;asm_wrrsp_and_jmp(a,F);}
void start_all_processors(void(*b)(void),void(*a)(void)){initproc_bsp=b,initproc_ap=a;bsp_continue(&bspinitproc1);}
