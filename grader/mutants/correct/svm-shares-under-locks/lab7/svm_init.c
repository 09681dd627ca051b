/* lab7: SVM on each CPU. */

#include "asm.h"
#include "mm.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

static u8 areas[16][PAGESIZE] __attribute__ ((aligned (PAGESIZE)));
static uint next;

void
svm_init (void)
{
	void *hsave = areas[__sync_fetch_and_add (&next, 1)];

	asm_wrmsr (MSR_EFER, asm_rdmsr (MSR_EFER) | EFER_SVME);
	asm_wrmsr (MSR_VM_HSAVE_PA, (ulong)hsave - VMM_BASE);
}
