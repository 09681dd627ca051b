/* Nested page tables: from guest-physical to host-physical addresses.  The
 * format is that of the host's own 4-level paging, and the guest accesses
 * memory as user code does (APM 15.25.5, 15.25.6). */

#include "asm.h"
#include "mm.h"
#include "multiboot.h"
#include "string.h"
#include "svm.h"
#include "x86.h"

#define FOUR_GIB   0x100000000ULL
#define TWO_MIB	   0x200000ULL
#define ENTRIES	   512
#define ADDRESS	   0x000FFFFFFFFFF000ULL /* in an entry */
#define NP_RIGHTS  (PTE_P | PTE_RW | PTE_US)
#define SHIFT_PML4 39
#define SHIFT_PDPT 30
#define SHIFT_PD   21
#define SHIFT_PT   12

static u64 *np_pml4;

static u64 *
entry_of (u64 *table, u64 gpa, uint shift)
{
	return &table[gpa >> shift & (ENTRIES - 1)];
}

/* Return the table that an entry leads to; make an empty one if there is none
 * yet. */
static u64 *
table_of (u64 *entry)
{
	u64 *table;

	if (*entry & PTE_P)
		return (u64 *)(ulong)((*entry & ADDRESS) + VMM_BASE);
	table = alloc (PAGESIZE);
	memset (table, 0, PAGESIZE);
	*entry = ((ulong)table - VMM_BASE) | NP_RIGHTS;
	return table;
}

/* Return the entry of the page directory for a guest-physical address. */
static u64 *
pde_of (u64 gpa)
{
	u64 *pdpt = table_of (entry_of (np_pml4, gpa, SHIFT_PML4));
	u64 *pd = table_of (entry_of (pdpt, gpa, SHIFT_PDPT));

	return entry_of (pd, gpa, SHIFT_PD);
}

/* Replace a page of 2 MiB by 512 pages of 4 KiB with the same rights. */
static void
split (u64 *pde)
{
	u64 base = *pde & ADDRESS;
	u64 rights = *pde & NP_RIGHTS;
	u64 *table;
	uint i;

	*pde = 0;
	table = table_of (pde);
	for (i = 0; i < ENTRIES; i++)
		table[i] = (base + (u64)i * PAGESIZE) | rights;
}

/* Return whether a page of 2 MiB fits at these addresses. */
static bool
large (u64 gpa, u64 hpa, u64 len)
{
	return len >= TWO_MIB && !((gpa | hpa) & (TWO_MIB - 1));
}

void
np_map (u64 gpa, u64 hpa, u64 len, bool present, bool writable)
{
	u64 rights = present ? PTE_P | PTE_US | (writable ? PTE_RW : 0) : 0;
	u64 size;
	u64 *pde;

	if (!present)
		hpa = gpa; /* leads nowhere: only its alignment matters */
	for (; len; gpa += size, hpa += size, len -= size) {
		pde = pde_of (gpa);
		if (large (gpa, hpa, len)) {
			size = TWO_MIB;
			*pde = present ? hpa | rights | PDE_PS : 0;
			continue;
		}
		size = PAGESIZE;
		if (*pde & PDE_PS)
			split (pde);
		*entry_of (table_of (pde), gpa, SHIFT_PT) =
			present ? hpa | rights : 0;
	}
}

u64
np_init (void)
{
	u64 gpa, start, end;

	np_pml4 = alloc (PAGESIZE);
	memset (np_pml4, 0, PAGESIZE);
	for (gpa = 0; gpa < FOUR_GIB; gpa += TWO_MIB)
		*pde_of (gpa) = gpa | NP_RIGHTS | PDE_PS;

	/* The image, and everything that alloc may hand out. */
	mm_vmm_memory (&start, &end);
	np_map (start, 0, end - start, false, false);
	return (ulong)np_pml4 - VMM_BASE;
}
