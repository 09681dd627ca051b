/* lab6: memory below 1 MiB, which a CPU in real mode can address. */

#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "multiboot.h"
#include "panic.h"
#include "todo.h"
#include "uefi.h"

#define BDA_MEMORY_SIZE 0x413 /* u16: KiB of low memory, from 0 on */

#define ALLOCATE_MAX_ADDRESS 1 /* AllocatePages: UEFI 2.10, 7.2.1 */
#define EFI_UNUSABLE_MEMORY  8
#define BELOW_1_MIB	     0xFFFFF

/* Take len bytes from the top of low memory on a machine with a BIOS.
 *
 * On entry: the BSP, no lock held.  The 16-bit word at physical address
 * BDA_MEMORY_SIZE is the number of KiB of low memory.  INT 0x12 returns it, and
 * an operating system uses no low memory above that limit.
 *
 * Must: lower that word by as many KiB as len bytes need, and change nothing
 * else below 1 MiB.  Return the physical address of len bytes that were below
 * the limit and are now above it, and that no earlier call has returned.  If
 * there are not so many bytes below the limit, panic and leave the word as it
 * is. */
static u32
alloc_realmodemem_bios (uint len)
{
	/* BEGIN SOLUTION lab6.1
	 * TODO(lab6.1):
	 * STARTER: (void)len;
	 * STARTER: vmm_todo ("lab6.1");
	 */
	u16 *kib = mapmem_hphys (BDA_MEMORY_SIZE, sizeof *kib, MAPMEM_WRITE);
	u32 limit = *kib * 1024;

	if (len > limit)
		panic ("alloc_realmodemem: %u bytes of %u", len, limit);
	*kib = (limit - len) / 1024;
	limit = *kib * 1024;
	unmapmem (kib, sizeof *kib);
	return limit;
	/* END SOLUTION */
}

/* Ask the firmware for len bytes below 1 MiB.
 *
 * On entry: the BSP, no lock held, interrupts off; uefi_call works.
 *
 * Must: call AllocatePages, at uefi_boot.allocate_pages, by uefi_call: for as
 * many pages of 4 KiB as len bytes need, no more, all of them below 1 MiB, and
 * of a memory type that an operating system never takes for itself, such as
 * EFI_UNUSABLE_MEMORY.  The last argument is the physical address of a 64-bit
 * variable that holds an address, which the firmware replaces by that of the
 * memory.  Return that address.  If the status is not 0, the firmware has
 * refused: panic. */
static u32
alloc_realmodemem_uefi (uint len)
{
	/* BEGIN SOLUTION lab6.4
	 * TODO(lab6.4):
	 * STARTER: (void)len;
	 * STARTER: vmm_todo ("lab6.4");
	 */
	u64 address = BELOW_1_MIB;
	u64 status;

	status = uefi_call (uefi_boot.allocate_pages, ALLOCATE_MAX_ADDRESS,
			    EFI_UNUSABLE_MEMORY,
			    ((u64)len + PAGESIZE - 1) / PAGESIZE,
			    (ulong)&address - VMM_BASE);
	if (status)
		panic ("alloc_realmodemem: AllocatePages returns 0x%llx",
		       status);
	return address;
	/* END SOLUTION */
}

/* Allocate len bytes below 1 MiB, which are never freed.  len is not 0.
 *
 * On entry: the BSP, no lock held, interrupts off.  May be called several
 * times.
 *
 * Must: return the physical address of the memory: from the firmware if UEFI
 * booted the machine, else from the top of low memory.  No operating system
 * that starts later uses it. */
u32
alloc_realmodemem (uint len)
{
	return uefi_booted ? alloc_realmodemem_uefi (len) :
			     alloc_realmodemem_bios (len);
}

/* Find where the trampoline can be.
 *
 * On entry: the BSP, no lock held.  From addr on there are 15 bytes more than
 * the trampoline needs.
 *
 * Must: return the lowest address from addr on for which the far jump at
 * physical address 0 exists: its offset is APINIT_OFFSET, its segment times 16
 * is the rest (lab 3). */
u32
align_apinit_addr (u32 addr)
{
	/* BEGIN SOLUTION lab6.5
	 * TODO(lab6.5):
	 * STARTER: (void)addr;
	 * STARTER: vmm_todo ("lab6.5");
	 */
	while ((addr & 15) != (APINIT_OFFSET & 15))
		addr++;
	return addr;
	/* END SOLUTION */
}
