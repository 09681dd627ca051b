/* What every CPU has of its own, reached through GS. */
#ifndef PCPU_H
#define PCPU_H

#include "cohort.h"
#include "linkage.h"
#include "types.h"

#define NUM_OF_PCPU 256 /* xAPIC ids are 8 bits wide */

struct pcpu {
#if PCPU_PAD
	u8 pad[PCPU_PAD];
#endif
	struct pcpu *self;
	int cpunum; /* 0 is the BSP */
	u32 apic_id;
	void *stackaddr; /* lowest address of this CPU's own stack */
	u64 gdt[4];
	volatile bool ready;
} __attribute__ ((aligned (16)));

static always_inline struct pcpu *
get_currentcpu (void)
{
	struct pcpu *p;

	asm volatile("mov %%gs:%c1, %0"
		     : "=r"(p)
		     : "i"(offsetof (struct pcpu, self)));
	return p;
}

/* This CPU's data.  Not before segment_init_bsp or segment_init_ap. */
#define currentcpu (get_currentcpu ())

/* The data of the CPU with this APIC id, NULL if it has none yet. */
struct pcpu *pcpu_of_apic_id (u32 apic_id);

/* GDT, segments, per-CPU data and IDT of the CPU that calls.  cpunum is
 * remembered in its data and must be no other CPU's. */
void segment_init_bsp (void);
void segment_init_ap (int cpunum);

/* A processor that the ACPI tables name and that has no per-CPU data yet:
 * its APIC id; NO_APIC_ID if there is none. */
u32 ap_first_missing (void);

#endif
