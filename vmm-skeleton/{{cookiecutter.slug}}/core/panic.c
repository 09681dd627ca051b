/* The end. */

#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"

/* APIC id + 1 of the CPU that panics; 0: none.  A panic within a panic, as by
 * a fault in printf, is the end without a word. */
static volatile u32 panic_cpu;

noinline void
panic (const char *format, ...)
{
	u32 id = apic_id ();
	struct pcpu *cpu = pcpu_of_apic_id (id);
	va_list ap;

	if (panic_cpu == id + 1)
		asm_halt_forever ();
	panic_cpu = id + 1;
	printf_panic ();
	if (cpu)
		printf ("panic: CPU %d (APIC id %u): ", cpu->cpunum, id);
	else
		printf ("panic: APIC id %u: ", id);
	va_start (ap, format);
	vprintf (format, ap);
	va_end (ap);
	printf ("\n");
	asm_halt_forever ();
}
