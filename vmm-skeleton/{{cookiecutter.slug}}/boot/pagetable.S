/* Page tables, made by the assembler: they are right before the first
 * instruction runs.  Layout: include/layout.h.  Format: SDM 4.4 (PAE paging)
 * and 4.5 (4-level paging); APM 5.2 and 5.3.  Both use the same 64-bit
 * entries and 2 MiB pages, so that all below the root is shared. */

#include "layout.h"
#include "x86.h"

/* One entry: the physical address of a table, and flags. */
#define PT_ENTRY(table, flags) .long (table) - VMM_BASE + (flags), 0

	.data
	.balign	PAGESIZE

/* Two roots.  mm_init takes entry 0, the identity map, out of bsp_pdpt.  The
 * APs turn on paging while they run below 1 GiB, so ap_pdpt keeps it. */
#ifdef __x86_64__
	.globl	bsp_pagetable
bsp_pagetable:
	PT_ENTRY	(bsp_pdpt, PTE_P | PTE_RW)
	.fill	511, 8, 0
	.globl	ap_pagetable
ap_pagetable:
	PT_ENTRY	(ap_pdpt, PTE_P | PTE_RW)
	.fill	511, 8, 0
#endif

	.globl	bsp_pdpt
#ifndef __x86_64__
	.globl	bsp_pagetable
bsp_pagetable:
#endif
bsp_pdpt:
	PT_ENTRY	(pd_low, PDPTE_FLAGS)
	PT_ENTRY	(pd_low, PDPTE_FLAGS)
	.quad	0
	PT_ENTRY	(pd_window, PDPTE_FLAGS)
	.balign	PAGESIZE

#ifndef __x86_64__
	.globl	ap_pagetable
ap_pagetable:
#endif
ap_pdpt:
	PT_ENTRY	(pd_low, PDPTE_FLAGS)
	PT_ENTRY	(pd_low, PDPTE_FLAGS)
	.quad	0
	PT_ENTRY	(pd_window, PDPTE_FLAGS)
	.balign	PAGESIZE

/* Physical 0 to 1 GiB in pages of 2 MiB: identity map and alias. */
pd_low:
	.set	physaddr, 0
	.rept	512
	.long	physaddr + (PTE_P | PTE_RW | PDE_PS), 0
	.set	physaddr, physaddr + 0x200000
	.endr

/* The window of mapmem: its page tables are empty. */
pd_window:
	.set	pagetable, mapmem_pagetables
	.rept	MAPMEM_PAGETABLES
	PT_ENTRY	(pagetable, PTE_P | PTE_RW)
	.set	pagetable, pagetable + PAGESIZE
	.endr
	.balign	PAGESIZE

	.bss
	.balign	PAGESIZE
	.globl	mapmem_pagetables
mapmem_pagetables:
	.skip	MAPMEM_PAGETABLES * PAGESIZE

	.section .note.GNU-stack, "", @progbits
