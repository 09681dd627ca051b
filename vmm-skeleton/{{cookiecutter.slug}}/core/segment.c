/* GDT, segments and per-CPU data. */

#include "acpi.h"
#include "apic.h"
#include "asm.h"
#include "exception.h"
#include "panic.h"
#include "pcpu.h"
#include "x86.h"

static struct pcpu pcpus[NUM_OF_PCPU]; /* index: cpunum */

/* Loads the GDT and every segment register from it.  CS takes a far return
 * (SDM 5.8.1); GS gets the per-CPU data. */
static void
load_segments (struct pcpu *cpu)
{
#ifdef __x86_64__
	ulong tmp;

	asm_lgdt (cpu->gdt, sizeof cpu->gdt);
	asm volatile("push %1; lea 1f(%%rip), %0; push %0; lretq; 1:"
		     : "=&r"(tmp)
		     : "i"(SEL_CODE)
		     : "memory");
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss;"
		     "mov %0, %%fs; mov %0, %%gs"
		     :
		     : "r"(SEL_DATA));
	asm_wrmsr (MSR_GS_BASE, (ulong)cpu);
#else
	asm_lgdt (cpu->gdt, sizeof cpu->gdt);
	asm volatile("ljmp %0, $1f; 1:" : : "i"(SEL_CODE) : "memory");
	asm volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss;"
		     "mov %0, %%fs; mov %1, %%gs"
		     :
		     : "r"(SEL_DATA), "r"(SEL_PCPU));
#endif
}

static void
segment_init (int cpunum)
{
	struct pcpu *cpu = &pcpus[cpunum];
	u64 base = (ulong)cpu;

	cpu->self = cpu;
	cpu->cpunum = cpunum;
	cpu->apic_id = apic_id ();
	cpu->gdt[0] = 0;
#ifdef __x86_64__
	cpu->gdt[SEL_CODE / 8] = DESC_CODE64;
#else
	cpu->gdt[SEL_CODE / 8] = DESC_CODE32;
#endif
	cpu->gdt[SEL_DATA / 8] = DESC_DATA;
	cpu->gdt[SEL_PCPU / 8] =
		DESC_DATA | (base & 0xFFFFFF) << 16 | (base & 0xFF000000) << 32;
	load_segments (cpu);
	exception_load_idt ();
	cpu->ready = true;
}

void
segment_init_bsp (void)
{
	exception_init ();
	segment_init (0);
}

/* INIT may have left the caches off (SDM table 9-1), and ring 0 free to write
 * to read-only pages. */
noinline void
segment_init_ap (int cpunum)
{
	if (cpunum <= 0 || cpunum >= NUM_OF_PCPU)
		panic ("segment_init_ap: no CPU can have number %d", cpunum);
	asm_wrcr0 ((asm_rdcr0 () & ~(ulong)(CR0_CD | CR0_NW)) | CR0_WP |
		   CR0_NE);
	segment_init (cpunum);
}

struct pcpu *
pcpu_of_apic_id (u32 apic_id)
{
	int i;

	for (i = 0; i < NUM_OF_PCPU; i++)
		if (pcpus[i].ready && pcpus[i].apic_id == apic_id)
			return &pcpus[i];
	return NULL;
}

u32
ap_first_missing (void)
{
	u32 i;

	for (i = 0; i < acpi_num_of_processors (); i++)
		if (!pcpu_of_apic_id (acpi_apic_id (i)))
			return acpi_apic_id (i);
	return NO_APIC_ID;
}
