/* lab8: nested page tables, from guest-physical to host-physical addresses.
 * The format is that of the host's own 4-level paging (APM 15.25.3). */

#include "apic.h"
#include "asm.h"
#include "mm.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "types.h"
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

static u64 *np_pml4; /* made by np_init; all virtual CPUs share it */

static inline u64 *
entry_of (u64 *table, u64 gpa, uint shift)
{
	return &table[gpa >> shift & (ENTRIES - 1)];
}

static inline u64 *
table_of (u64 entry) /* that is present, and not a page */
{
	return (u64 *)(ulong)((entry & ADDRESS) + VMM_BASE);
}

static inline u64 *
pde_of (u64 gpa) /* below 4 GiB */
{
	u64 *pdpt = table_of (*entry_of (np_pml4, gpa, SHIFT_PML4));
	u64 *pd = table_of (*entry_of (pdpt, gpa, SHIFT_PDPT));

	return entry_of (pd, gpa, SHIFT_PD);
}

/* Make the nested page tables, and return the physical address of the PML4:
 * the value for n_cr3.
 *
 * On entry: the BSP, once, before a guest runs; no lock held.  What alloc
 * returns is not 0.
 *
 * Must: let each guest-physical address below 4 GiB lead to the host-physical
 * address of the same number, whether there is memory, a device or nothing.
 * The guest may read, write and execute there.  For the processor each of its
 * accesses, those to its page tables too, is one of user code (APM 15.25.5).
 * At and above 4 GiB nothing is present.  Use pages of 2 MiB: not every
 * processor has pages of 1 GiB.  All other bits of an entry are 0, but for
 * those that the processor sets or ignores.  The tables are whole pages that
 * nothing else uses, in memory of the VMM.  Whether the VMM's own memory is
 * present, and whether the APIC's page is writable, does not matter yet. */
u64
np_init (void)
{
	/* BEGIN SOLUTION lab8.1
	 * TODO(lab8.1):
	 * STARTER: vmm_todo ("lab8.1");
	 */
	u64 *pdpt = alloc (PAGESIZE);
	u64 *pd = NULL;
	u64 gpa;

	np_pml4 = alloc (PAGESIZE);
	memset (np_pml4, 0, PAGESIZE);
	memset (pdpt, 0, PAGESIZE);
	np_pml4[0] = ((ulong)pdpt - VMM_BASE) | NP_RIGHTS;
	for (gpa = 0; gpa < FOUR_GIB; gpa += TWO_MIB) {
		if (!(gpa & ((1ULL << SHIFT_PDPT) - 1))) {
			pd = alloc (PAGESIZE); /* 512 entries: all are set */
			*entry_of (pdpt, gpa, SHIFT_PDPT) =
				((ulong)pd - VMM_BASE) | NP_RIGHTS;
		}
		*entry_of (pd, gpa, SHIFT_PD) = gpa | NP_RIGHTS | PDE_PS;
	}
	return (ulong)np_pml4 - VMM_BASE;
	/* END SOLUTION */
}

/* Change where len bytes of guest-physical memory lead to.
 *
 * On entry: the BSP; np_init has returned, and no guest runs at this time; no
 * lock held.  gpa, hpa and len are multiples of 4 KiB; gpa + len is at most 4
 * GiB, and hpa may be beyond.  Any of these pages may have been changed
 * before.  If present is false, hpa and writable mean nothing.
 *
 * Must: if present is false, let the guest have nothing from gpa on: each
 * access is a nested page fault.  If it is true, let these pages lead to hpa
 * and what follows there, in the same order; the guest may read and execute
 * there, and write if writable is true.  Every other page leads where it led
 * before, with the same rights: split a page of 2 MiB where the change ends
 * within it.  If len is 0, nothing changes.  What is true of the entries and
 * tables of np_init is true of these, too. */
void
np_map (u64 gpa, u64 hpa, u64 len, bool present, bool writable)
{
	/* BEGIN SOLUTION lab8.2
	 * TODO(lab8.2):
	 * STARTER: (void)gpa;
	 * STARTER: (void)hpa;
	 * STARTER: (void)len;
	 * STARTER: (void)present;
	 * STARTER: (void)writable;
	 * STARTER: vmm_todo ("lab8.2");
	 */
	u64 rights = present ? PTE_P | PTE_US | (writable ? PTE_RW : 0) : 0;
	u64 size, old;
	u64 *pde, *pt;
	uint i;

	if (!present)
		hpa = gpa; /* leads nowhere: only its alignment matters */
	for (; len; gpa += size, hpa += size, len -= size) {
		pde = pde_of (gpa);
		if (len >= TWO_MIB && !((gpa | hpa) & (TWO_MIB - 1))) {
			size = TWO_MIB;
			*pde = present ? hpa | rights | PDE_PS : 0;
			continue;
		}
		size = PAGESIZE;
		old = *pde;
		if (!(old & PTE_P) || old & PDE_PS) {
			/* 4 KiB pages that do what the 2 MiB did. */
			pt = alloc (PAGESIZE);
			for (i = 0; i < ENTRIES; i++)
				pt[i] = old & PTE_P ?
						(old & ADDRESS) +
							(u64)i * PAGESIZE +
							(old & NP_RIGHTS) :
						0;
			*pde = ((ulong)pt - VMM_BASE) | NP_RIGHTS;
		}
		*entry_of (table_of (*pde), gpa, SHIFT_PT) =
			present ? hpa | rights : 0;
	}
	/* END SOLUTION */
}

/* Hide the memory of the VMM from its guests.
 *
 * On entry: the BSP, after np_init, before a guest runs; no lock held.
 *
 * Must: hide each page in which there is a byte of what mm_vmm_memory says:
 * the image, and everything that alloc has handed out or will, the nested
 * page tables too.  The end need not be the end of a page.  There each access
 * of the guest is a nested page fault, and no other guest-physical address
 * leads there. Every other page stays as it was.  What is true of the entries
 * of np_init is true of these, too. */
void
np_hide_vmm (void)
{
	/* BEGIN SOLUTION lab8.3
	 * TODO(lab8.3):
	 * STARTER: vmm_todo ("lab8.3");
	 */
	u64 start, end;

	mm_vmm_memory (&start, &end);
	start &= ~(u64)PAGESIZE_MASK;
	end = (end + PAGESIZE_MASK) & ~(u64)PAGESIZE_MASK;
	np_map (start, 0, end - start, false, false);
	/* END SOLUTION */
}

/* Let the guest read the registers of the local APIC, and not write them.
 *
 * On entry: the BSP, after np_hide_vmm, before a guest runs; no lock held.
 *
 * Must: keep the page at physical address APIC_PHYS where it is, so that the
 * guest reads the registers without an exit, and make it read-only: a write
 * is a nested page fault, which the VMM sees before the APIC does.  Every
 * other page stays as it was, those around it writable.  What is true of the
 * entries of np_init is true of these, too. */
void
np_protect_apic (void)
{
	/* BEGIN SOLUTION lab8.4
	 * TODO(lab8.4):
	 * STARTER: vmm_todo ("lab8.4");
	 */
	np_map (APIC_PHYS, APIC_PHYS, PAGESIZE, true, false);
	/* END SOLUTION */
}

/* Make a virtual CPU forget translations from before a change of the tables.
 *
 * On entry: the CPU whose virtual CPU it is, outside of its guest; svm_vminit
 * has been called.  Each CPU calls it after a change, because it cannot reach
 * another CPU's TLB.
 *
 * Must: set tlb_control in its VMCB so that the next VMRUN flushes the TLB,
 * each time and whatever it holds: between two calls it may have been cleared.
 * The processor need not have the flush by ASID (encodings 3 and 7, APM
 * 15.16.1), so flush all of it.  Nothing else in *v or in the VMCB changes. */
void
np_flush (struct vcpu *v)
{
	/* BEGIN SOLUTION lab8.5
	 * TODO(lab8.5):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab8.5");
	 */
	v->vmcb->tlb_control = TLB_FLUSH_ALL;
	/* END SOLUTION */
}
