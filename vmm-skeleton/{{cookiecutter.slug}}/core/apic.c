/* The local APIC in xAPIC mode: registers in memory.  SDM 10.4.1. */

#include "apic.h"
#include "asm.h"
#include "initfunc.h"
#include "mm.h"
#include "panic.h"
#include "x86.h"

#define ICR_LOW	       0x300
#define ICR_HIGH       0x310
#define ICR_DEST_SHIFT 24

static volatile u8 *apic; /* each CPU sees its own there */

static volatile u32 *
reg (uint offset)
{
	if (!apic)
		panic ("the local APIC is not mapped yet (initfunc global4)");
	return (volatile u32 *)(apic + offset);
}

/* By CPUID leaf 1, EBX bits 31-24: the initial APIC id (SDM 8.4.5). */
u32
apic_id (void)
{
	u32 a, b, c, d;

	asm_cpuid (1, &a, &b, &c, &d);
	return b >> 24;
}

/* Writing the low half sends (SDM 10.6.1). */
void
apic_write_icr (u32 dest_apic_id, u32 low)
{
	while (*reg (ICR_LOW) & ICR_DELIVERY_STATUS)
		asm_pause ();
	*reg (ICR_HIGH) = dest_apic_id << ICR_DEST_SHIFT;
	*reg (ICR_LOW) = low;
}

static void
apic_init (void)
{
	u64 base = asm_rdmsr (MSR_APIC_BASE);

	if (!(base & APIC_BASE_ENABLE))
		panic ("the local APIC is disabled in IA32_APIC_BASE");
	apic = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE | MAPMEM_PCD | MAPMEM_PWT,
		       base & ~(u64)PAGESIZE_MASK, PAGESIZE);
}

INITFUNC ("global4", apic_init);
