/* lab5: both functions in assembly at file scope. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"

asm(".text\n"
    ".globl	panic_wakeup_all, nmi_handler\n"
    "panic_wakeup_all:\n"
    "	cmpb	$0, ap_started\n"
    "	je	1f\n"
    "	mov	$0xC4400, %esi\n"
    "	xor	%edi, %edi\n"
    "	jmp	apic_write_icr\n"
    "1:	ret\n"
    "nmi_handler:\n"
    "	xor	%esp, %esp\n" /* nothing is needed from the stack */
    "2:	cli\n"
    "	hlt\n"
    "	jmp	2b\n");
