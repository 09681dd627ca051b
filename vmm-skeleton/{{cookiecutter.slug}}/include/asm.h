/* Single instructions as functions. */
#ifndef ASM_H
#define ASM_H

#include "linkage.h"
#include "types.h"

static always_inline void
asm_pause (void)
{
	asm volatile("pause" : : : "memory");
}

/* Stop this CPU for good. */
static always_inline noreturn void
asm_halt_forever (void)
{
	for (;;)
		asm volatile("cli; hlt" : : : "memory");
}

/* The operand of LGDT and LIDT: SDM 2.4, figure 2-6. */
struct descreg {
	u16 limit;
	ulong base;
} __attribute__ ((packed));

static always_inline void
asm_lgdt (const void *table, uint size)
{
	struct descreg reg = { size - 1, (ulong)table };

	asm volatile("lgdt %0" : : "m"(reg) : "memory");
}

static always_inline void
asm_lidt (const void *table, uint size)
{
	struct descreg reg = { size - 1, (ulong)table };

	asm volatile("lidt %0" : : "m"(reg) : "memory");
}

static always_inline u8
asm_inb (u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static always_inline u32
asm_inl (u16 port)
{
	u32 value;

	asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static always_inline void
asm_outb (u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static always_inline u64
asm_rdmsr (u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

static always_inline void
asm_wrmsr (u32 msr, u64 value)
{
	asm volatile("wrmsr"
		     :
		     : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32))
		     : "memory");
}

static always_inline ulong
asm_rdcr0 (void)
{
	ulong value;

	asm volatile("mov %%cr0, %0" : "=r"(value));
	return value;
}

static always_inline void
asm_wrcr0 (ulong value)
{
	asm volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static always_inline ulong
asm_rdcr2 (void)
{
	ulong value;

	asm volatile("mov %%cr2, %0" : "=r"(value));
	return value;
}

/* Loading CR3 with its own value drops the TLB and, with PAE paging, reads
 * the four PDPTEs again (SDM 4.4.1). */
static always_inline void
asm_reload_cr3 (void)
{
	ulong value;

	asm volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(value) : : "memory");
}

static always_inline void
asm_invlpg (void *virt)
{
	asm volatile("invlpg %0" : : "m"(*(u8 *)virt) : "memory");
}

static always_inline void
asm_cpuid (u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid"
		     : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d)
		     : "a"(leaf), "c"(0));
}

#endif
