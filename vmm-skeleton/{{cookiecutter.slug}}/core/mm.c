/* alloc, and the removal of the identity map. */

#include "mm.h"
#include "asm.h"
#include "initfunc.h"
#include "multiboot.h"
#include "panic.h"
#include "spinlock.h"
#include "uefi.h"

#define ONE_MIB	     0x100000
#define NUM_RESERVED 64
#define MAX_STRING   4096
#define SMALL_ALIGN  16

extern u8 __image_start[], __image_end[];
extern volatile u64 bsp_pdpt[4];

static struct {
	u64 start, end;
} reserved[NUM_RESERVED];
static uint num_reserved;
static u64 next_free, memory_end; /* physical; 0: before mm_init */
static spinlock_t alloc_lock;	  /* guards next_free */

static u64
round_up (u64 value, u64 align)
{
	return (value + align - 1) & ~(align - 1);
}

/* Keep alloc away from memory that is in use.  What is outside of the range of
 * alloc does not matter. */
static void
reserve (u64 start, u64 len)
{
	if (!len || start + len <= next_free || start >= memory_end)
		return;
	if (num_reserved == NUM_RESERVED)
		panic ("mm_init: more than %u pieces of memory in use",
		       NUM_RESERVED);
	reserved[num_reserved].start = start;
	reserved[num_reserved].end = start + len;
	num_reserved++;
}

static void
reserve_string (u32 physaddr)
{
	const char *s = mapmem_hphys (physaddr, MAX_STRING, 0);
	uint len = 0;

	while (len < MAX_STRING && s[len])
		len++;
	unmapmem ((void *)s, MAX_STRING);
	reserve (physaddr, len + 1);
}

/* Multiboot 3.3: the modules and their list. */
static void
reserve_modules (void)
{
	const struct multiboot_module *mods;
	uint len = mi.mods_count * sizeof *mods;
	uint i;

	if (!len)
		return;
	reserve (mi.mods_addr, len);
	mods = mapmem_hphys (mi.mods_addr, len, 0);
	for (i = 0; i < mi.mods_count; i++) {
		reserve (mods[i].mod_start,
			 (u64)mods[i].mod_end - mods[i].mod_start);
		if (mods[i].string)
			reserve_string (mods[i].string);
	}
	unmapmem ((void *)mods, len);
}

/* Multiboot 3.3: the memory map.  What it does not mark as available belongs to
 * the firmware. */
static void
reserve_by_mmap (void)
{
	const struct multiboot_mmap *entry;
	const u8 *mmap = mapmem_hphys (mi.mmap_addr, mi.mmap_length, 0);
	uint offset;

	for (offset = 0; offset + sizeof *entry <= mi.mmap_length;
	     offset += entry->size + sizeof entry->size) {
		entry = (const struct multiboot_mmap *)(mmap + offset);
		if (entry->type != MULTIBOOT_MMAP_AVAILABLE)
			reserve (entry->addr, entry->length);
	}
	unmapmem ((void *)mmap, mi.mmap_length);
}

/* The memory for alloc is what the multiboot information says is there. */
static void
use_multiboot_memory (void)
{
	if (!(mi.flags & MULTIBOOT_INFO_MEMORY) || !mi.mem_upper)
		panic ("mm_init: mi says nothing about memory (flags 0x%x, "
		       "mem_upper %u KiB): was all of it copied?",
		       mi.flags, mi.mem_upper);
	next_free = (ulong)__image_end - VMM_BASE;
	memory_end = ONE_MIB + (u64)mi.mem_upper * 1024;
	if (memory_end > VMM_ALIAS_SIZE)
		memory_end = VMM_ALIAS_SIZE;
	if (mi.flags & MULTIBOOT_INFO_MMAP && mi.mmap_length)
		reserve_by_mmap ();
	if (mi.flags & MULTIBOOT_INFO_MODS)
		reserve_modules ();
	if (mi.flags & MULTIBOOT_INFO_CMDLINE)
		reserve_string (mi.cmdline);
}

static void
mm_init (void)
{
	if (uefi_boot.heap_len) { /* the EFI loader has allocated it */
		next_free = uefi_boot.heap;
		memory_end = uefi_boot.heap + uefi_boot.heap_len;
	} else {
		use_multiboot_memory ();
	}

	bsp_pdpt[0] = 0; /* below 1 GiB: mapmem only */
	asm_reload_cr3 ();
}

INITFUNC ("global1", mm_init);

/* Return the lowest address from physaddr on at which len bytes overlap nothing
 * reserved. */
static u64
skip_reserved (u64 physaddr, uint len, u64 align)
{
	uint i = 0;

	while (i < num_reserved) {
		if (physaddr < reserved[i].end &&
		    physaddr + len > reserved[i].start) {
			physaddr = round_up (reserved[i].end, align);
			i = 0;
		} else {
			i++;
		}
	}
	return physaddr;
}

noinline void *
alloc (uint len)
{
	u64 align = len >= PAGESIZE ? PAGESIZE : SMALL_ALIGN;
	u64 physaddr;

	if (!memory_end)
		panic ("alloc before mm_init (initfunc global1)");
	spinlock_lock (&alloc_lock);
	physaddr = skip_reserved (round_up (next_free, align), len, align);
	if (physaddr + len > memory_end) {
		spinlock_unlock (&alloc_lock);
		panic ("alloc: no %u bytes left", len);
	}
	next_free = physaddr + len;
	spinlock_unlock (&alloc_lock);
	return (void *)(ulong)(VMM_BASE + physaddr);
}

void
mm_vmm_memory (u64 *start, u64 *end)
{
	*start = (ulong)__image_start - VMM_BASE;
	*end = uefi_boot.heap_len ? (ulong)__image_end - VMM_BASE : memory_end;
}
