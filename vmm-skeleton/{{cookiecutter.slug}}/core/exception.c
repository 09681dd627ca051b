/* Exceptions: the VMM has none to survive. */

#include "asm.h"
#include "exception.h"
#include "layout.h"
#include "panic.h"
#include "x86.h"

#define PAGE_FAULT	  14
#define INTERRUPT_GATE	  0x8E00 /* present, ring 0; SDM 6.11, 6.14.1 */

struct gate {
	u16 offset_low;
	u16 selector;
	u16 type;
	u16 offset_mid;
#ifdef __x86_64__
	u32 offset_high;
	u32 reserved;
#endif
};

extern const u8 exception_stubs[NUM_OF_EXCEPTIONS][EXCEPTION_STUB_SIZE];

static struct gate idt[NUM_OF_EXCEPTIONS];

static const char *const names[NUM_OF_EXCEPTIONS] = {
	[0] = "divide error",
	[1] = "debug",
	[2] = "NMI",
	[3] = "breakpoint",
	[4] = "overflow",
	[5] = "bound range exceeded",
	[6] = "invalid opcode",
	[7] = "device not available",
	[8] = "double fault",
	[10] = "invalid TSS",
	[11] = "segment not present",
	[12] = "stack fault",
	[13] = "general protection",
	[14] = "page fault",
	[16] = "x87 error",
	[17] = "alignment check",
	[18] = "machine check",
	[19] = "SIMD error",
};

void
exception_init (void)
{
	ulong stub;
	uint i;

	for (i = 0; i < NUM_OF_EXCEPTIONS; i++) {
		stub = (ulong)exception_stubs[i];
		idt[i].offset_low = stub;
		idt[i].selector = SEL_CODE;
		idt[i].type = INTERRUPT_GATE;
		idt[i].offset_mid = stub >> 16;
	}
}

void
exception_load_idt (void)
{
	struct {
		u16 limit;
		ulong base;
	} __attribute__ ((packed)) idtr = { sizeof idt - 1, (ulong)idt };

	asm volatile ("lidt %0" : : "m" (idtr) : "memory");
}

noinline asmlinkage void
exception_panic (struct exception_frame *frame)
{
	const char *name = NULL;
	ulong cr2 = asm_rdcr2 ();

	if (frame->vector < NUM_OF_EXCEPTIONS)
		name = names[frame->vector];
	if (!name)
		name = "exception";
	if (frame->vector == PAGE_FAULT)
		panic ("page fault at IP 0x%lx, address 0x%lx, error code "
		       "0x%lx%s",
		       frame->ip, cr2, frame->error_code,
		       cr2 < VMM_BASE ? ": below 1 GiB memory is reached by "
					"mapmem only" :
					"");
	panic ("%s (vector %lu) at IP 0x%lx, error code 0x%lx, CR2 0x%lx", name,
	       frame->vector, frame->ip, frame->error_code, cr2);
}
