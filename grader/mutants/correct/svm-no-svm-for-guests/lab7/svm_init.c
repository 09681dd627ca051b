/* lab7: SVM on each CPU. */

#include "asm.h"
#include "mm.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

void
svm_init (void)
{
	void *hsave = alloc (PAGESIZE);

	asm_wrmsr (MSR_EFER, asm_rdmsr (MSR_EFER) | EFER_SVME);
	asm_wrmsr (MSR_VM_HSAVE_PA, (ulong)hsave - VMM_BASE);
}
