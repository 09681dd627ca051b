/* mapmem: a window into physical memory, 4 KiB pages.  layout.h. */

#include "asm.h"
#include "mm.h"
#include "panic.h"
#include "spinlock.h"
#include "x86.h"

#define NUM_OF_PAGES (MAPMEM_PAGETABLES * 512)

extern volatile u64 mapmem_pagetables[NUM_OF_PAGES];

static spinlock_t mapmem_lock;
static uint next_page; /* guarded by mapmem_lock */

static void *
page_address (uint page)
{
	return (void *)((ulong)MAPMEM_BASE + page * PAGESIZE);
}

static uint
num_of_pages (ulong address, uint len)
{
	return ((address & PAGESIZE_MASK) + len + PAGESIZE_MASK) / PAGESIZE;
}

/* The first of n free pages in a row.  Searches from where the last search
 * ended: an address is not used again soon, so that whoever uses one after
 * unmapmem faults. */
static uint
find_free (uint n)
{
	uint i, run, page;

	for (i = 0, run = 0; i < 2 * NUM_OF_PAGES; i++) {
		page = (next_page + i) % NUM_OF_PAGES;
		if (!page)
			run = 0; /* a run does not wrap */
		if (mapmem_pagetables[page])
			run = 0;
		else if (++run == n) {
			next_page = page + 1;
			return page + 1 - n;
		}
	}
	panic ("mapmem: no %u pages free in the window", n);
}

void *
mapmem (int flags, u64 physaddr, uint len)
{
	u64 entry = (physaddr & ~(u64)PAGESIZE_MASK) | PTE_P;
	uint n = num_of_pages (physaddr, len);
	uint first, i;

	if (!(flags & MAPMEM_HPHYS))
		panic ("mapmem: MAPMEM_HPHYS is the only kind there is");
	if (!len)
		panic ("mapmem: nothing to map at 0x%llx", physaddr);
	if (flags & MAPMEM_WRITE)
		entry |= PTE_RW;
	if (flags & MAPMEM_PWT)
		entry |= PTE_PWT;
	if (flags & MAPMEM_PCD)
		entry |= PTE_PCD;
	spinlock_lock (&mapmem_lock);
	first = find_free (n);
	for (i = 0; i < n; i++) {
		mapmem_pagetables[first + i] = entry + (u64)i * PAGESIZE;
		asm_invlpg (page_address (first + i));
	}
	spinlock_unlock (&mapmem_lock);
	return (u8 *)page_address (first) + (physaddr & PAGESIZE_MASK);
}

void *
mapmem_hphys (u64 physaddr, uint len, int flags)
{
	return mapmem (flags | MAPMEM_HPHYS, physaddr, len);
}

void
unmapmem (void *virt, uint len)
{
	ulong offset = (ulong)virt - MAPMEM_BASE;
	uint first = offset / PAGESIZE;
	uint n = num_of_pages (offset, len);
	uint i;

	if (offset >= (ulong)NUM_OF_PAGES * PAGESIZE || n > NUM_OF_PAGES - first)
		panic ("unmapmem: %p is not from mapmem", virt);
	spinlock_lock (&mapmem_lock);
	for (i = 0; i < n; i++) {
		mapmem_pagetables[first + i] = 0;
		asm_invlpg (page_address (first + i));
	}
	spinlock_unlock (&mapmem_lock);
}
