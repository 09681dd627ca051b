/* BIOS only: a guest that asks the BIOS for its memory must not find the VMM's.
 * The VMM is above 1 MiB, so such a guest gets low memory only. */

#include "ap.h"
#include "initfunc.h"
#include "mm.h"
#include "multiboot.h"
#include "printf.h"
#include "string.h"

#define INT15_VECTOR	(0x15 * 4) /* real mode: offset, then segment */
#define BDA_MEMORY_SIZE 0x413	   /* u16: KiB of low memory */

extern const u8 int15_hook_start[], int15_hook_end[], int15_hook_next[];

/* Return whether the firmware has set up low memory for guests that call a
 * BIOS.  A small one like qboot has not. */
static bool
has_bios (void)
{
	const u16 *kib = mapmem_hphys (BDA_MEMORY_SIZE, sizeof *kib, 0);
	bool found = *kib != 0;

	unmapmem ((void *)kib, sizeof *kib);
	return found;
}

/* Put the hook into low memory that INT 0x12 no longer reports, and make the
 * vector of INT 0x15 point to it. */
static void
install_int0x15_hook (void)
{
	uint len = int15_hook_end - int15_hook_start;
	u32 addr, *vector;
	u8 *hook;

	if (uefi_booted || !has_bios ())
		return;
	addr = alloc_realmodemem (len);
	hook = mapmem_hphys (addr, len, MAPMEM_WRITE);
	vector = mapmem_hphys (INT15_VECTOR, sizeof *vector, MAPMEM_WRITE);
	memcpy (hook, int15_hook_start, len);
	memcpy (hook + (int15_hook_next - int15_hook_start), vector,
		sizeof *vector);
	*vector = addr >> 4 << 16 | (addr & 15);
	unmapmem (vector, sizeof *vector);
	unmapmem (hook, len);
	printf ("INT 0x15: hook at 0x%x\n", addr);
}

INITFUNC ("bsp0", install_int0x15_hook);
