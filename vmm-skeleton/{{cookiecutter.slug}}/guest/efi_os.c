/* A guest for UEFI, an EFI application that behaves as an operating system does
 * when it starts.  The firmware starts it, as a guest, once the VMM has
 * returned to the EFI loader.  It uses the APs by the firmware's MP services,
 * ends the boot services, and starts the APs itself: first one, by its APIC id,
 * then all.  It waits for events only, never for a time.
 *
 * It notes in the page at GUEST_EFI_PAGE how far it has come and what it finds
 * wrong, and ends in that page, at GUEST_EFI_DONE or at GUEST_EFI_FAILED. */

#include "apic.h"
#include "asm.h"
#include "efi.h"
#include "guest.h"
#include "svm.h"
#include "x86.h"

#define PAGE_SIZE      4096
#define BELOW_1_MIB    0xFFFFF
#define MAP_SIZE       0x8000
#define ROUNDS	       4
#define MAX_CPUS       32 /* APIC ids are below it */
#define ICR_LOW	       0x300
#define ICR_HIGH       0x310
#define ICR_DEST_SHIFT 24
#define LOOKS	       100000 /* at a counter, between two SIPIs */

/* How far it has come: guest_efi.stage */
#define STAGE_STARTED 1 /* by the firmware */
#define STAGE_EXIT    2 /* its state survives an exit */
#define STAGE_MP      3 /* the firmware's MP services work */
#define STAGE_ENDED   4 /* so does ExitBootServices */
#define STAGE_ONE     5 /* one AP has started */
#define STAGE_ALL     6 /* all APs have */

/* What is wrong: guest_efi.check.  To some belongs a number, in its lowest
 * bits. */
#define CHECK_REGISTER 0x100 /* that has changed: bit of registers_changed */
#define CHECK_MSR      0x200 /* that has changed: place in msrs */
#define CHECK_SEGMENT  0x300 /* that has changed: place in struct segments */
#define CHECK_MEMORY   0x400 /* status of AllocatePages */
#define CHECK_NO_MP    0x410 /* status of LocateProtocol */
#define CHECK_MP       0x420 /* status of StartupAllAPs; plus the round */
#define CHECK_MP_RAN   0x430 /* APs that ran the procedure; plus the round */
#define CHECK_EXIT     0x440 /* status of ExitBootServices */
#define CHECK_WOKEN    0x450 /* APIC ids of the APs that have started */

struct guest_efi {
	u32 magic;
	u32 stage;
	u32 check; /* 0: nothing is wrong */
	u32 cpus;
	u64 found, wanted;
	u32 rounds;	 /* that StartupAllAPs has done */
	u32 mp_ids;	 /* APIC ids that ran in the last one, a bit each */
	u32 one_id;	 /* which AP was to start alone */
	u32 started_one; /* one bit for each APIC id that started then */
	u32 started_all; /* the same for all */
};

static struct guest_efi *const result = (void *)GUEST_EFI_PAGE;

/* guest/efi_os_asm.S */
extern u8 ap_start16[], ap_start16_end[], ap_started16[];
extern u8 rest[], rest_end[];
u64 registers_changed (void);

static noreturn void
end_at (u64 address)
{
	asm volatile("cli; jmp *%0" : : "r"(address) : "memory");
	__builtin_unreachable ();
}

static void
require (u32 check, u64 found, u64 wanted)
{
	if (found == wanted)
		return;
	result->found = found;
	result->wanted = wanted;
	result->check = check;
	end_at (GUEST_EFI_FAILED);
}

static void
copy (u64 to, const u8 *from, const u8 *end)
{
	volatile u8 *t = (u8 *)to;

	while (from < end)
		*t++ = *from++;
}

static void
print (const char *text)
{
	for (; *text; text++) {
		while (!(asm_inb (COM1_LSR) & COM1_LSR_THRE))
			asm_pause ();
		asm_outb (COM1, *text);
	}
}

/* ---- the state of this CPU, across an exit ---- */

/* In the order of struct segments. */
static void
read_segments (u64 segments[9])
{
	struct descreg gdt, idt;
	u16 selectors[8];
	uint i;

	asm volatile("sgdt %0" : "=m"(gdt));
	asm volatile("sidt %0" : "=m"(idt));
	asm volatile("mov %%cs, %0" : "=m"(selectors[0]));
	asm volatile("mov %%ss, %0" : "=m"(selectors[1]));
	asm volatile("mov %%ds, %0" : "=m"(selectors[2]));
	asm volatile("mov %%es, %0" : "=m"(selectors[3]));
	asm volatile("mov %%fs, %0" : "=m"(selectors[4]));
	asm volatile("mov %%gs, %0" : "=m"(selectors[5]));
	asm volatile("str %0" : "=m"(selectors[6]));
	for (i = 0; i < 7; i++)
		segments[i] = selectors[i];
	segments[7] = gdt.base + gdt.limit;
	segments[8] = idt.base + idt.limit;
}

static void
check_exit (void)
{
	static const u32 msrs[] = { 0xC0000100, 0xC0000101, 0xC0000102,
				    0xC0000081, 0xC0000082, 0xC0000083,
				    0xC0000084, 0x175,	    0x176 };
	u64 old[NUM_OF (msrs)], before[9], after[9], changed;
	uint i;

	for (i = 0; i < NUM_OF (msrs); i++) {
		old[i] = asm_rdmsr (msrs[i]);
		asm_wrmsr (msrs[i], 0x11110000 + 16 * i);
	}
	read_segments (before);
	changed = registers_changed ();
	read_segments (after);
	for (i = 0; i < 16; i++)
		require (CHECK_REGISTER + i, changed >> i & 1, 0);
	for (i = 0; i < NUM_OF (msrs); i++) {
		require (CHECK_MSR + i, asm_rdmsr (msrs[i]),
			 0x11110000 + 16 * i);
		asm_wrmsr (msrs[i], old[i]);
	}
	for (i = 0; i < NUM_OF (before); i++)
		require (CHECK_SEGMENT + i, after[i], before[i]);
}

/* ---- the firmware's MP services ---- */

static void EFIAPI
on_ap (void *argument)
{
	u32 *ids = argument;
	u32 a, b, c, d;

	asm_cpuid (1, &a, &b, &c, &d);
	__atomic_fetch_or (ids, 1u << (b >> 24 & (MAX_CPUS - 1)),
			   __ATOMIC_SEQ_CST);
}

static uint
ones (u32 bits)
{
	uint count = 0;

	for (; bits; bits &= bits - 1)
		count++;
	return count;
}

static void
use_mp_services (struct efi_boot_services *services)
{
	static const struct efi_guid guid = EFI_MP_SERVICES_GUID;
	struct efi_mp_services *mp;
	u64 all = 0, enabled = 0;
	void *found = NULL;

	require (CHECK_NO_MP, services->locate_protocol (&guid, NULL, &found),
		 EFI_SUCCESS);
	mp = found;
	mp->get_number_of_processors (mp, &all, &enabled);
	result->cpus = enabled;
	if (enabled == 1)
		return;
	while (result->rounds < ROUNDS) {
		result->mp_ids = 0;
		require (CHECK_MP + result->rounds,
			 mp->startup_all_aps (mp, on_ap, false, NULL, 0,
					      &result->mp_ids, NULL),
			 EFI_SUCCESS);
		require (CHECK_MP_RAN + result->rounds, ones (result->mp_ids),
			 enabled - 1);
		result->rounds++;
	}
}

static void
end_boot_services (efi_handle image, struct efi_boot_services *services)
{
	static u8 map[MAP_SIZE] __attribute__ ((aligned (16)));
	u64 size = sizeof map, key = 0, descriptor_size;
	efi_status status;
	u32 version;

	status = services->get_memory_map (&size, map, &key, &descriptor_size,
					   &version);
	if (status == EFI_SUCCESS)
		status = services->exit_boot_services (image, key);
	require (CHECK_EXIT, status, EFI_SUCCESS);
	asm_cli ();
}

/* ---- INIT and SIPI ---- */

static volatile u32 *
apic (u64 offset)
{
	return (volatile u32 *)(APIC_PHYS + offset);
}

static void
send_ipi (u32 dest, u32 low)
{
	while (*apic (ICR_LOW) & ICR_DELIVERY_STATUS)
		asm_pause ();
	*apic (ICR_HIGH) = dest << ICR_DEST_SHIFT;
	*apic (ICR_LOW) = low;
}

/* Start APs, and wait until those in `ids` have started.  An AP that has not
 * come to wait for a SIPI yet misses it, so send more. */
static void
start_aps (u32 dest, u32 shorthand, u64 code, u32 ids)
{
	volatile u32 *started = (u32 *)(code + (ap_started16 - ap_start16));
	uint i;

	copy (code, ap_start16, ap_start16_end);
	send_ipi (dest, shorthand | ICR_ASSERT | ICR_INIT);
	do {
		send_ipi (dest,
			  shorthand | ICR_ASSERT | ICR_STARTUP | code >> 12);
		for (i = 0; i < LOOKS && *started != ids; i++)
			asm_pause ();
	} while ((*started & ids) != ids);
	require (CHECK_WOKEN, *started, ids);
}

efi_status EFIAPI
efi_start (efi_handle image, struct efi_system_table *table)
{
	struct efi_boot_services *services = table->boot_services;
	u64 page = GUEST_EFI_PAGE, code = BELOW_1_MIB;
	efi_status status;

	status = services->allocate_pages (ALLOCATE_ADDRESS, EFI_LOADER_DATA, 1,
					   &page);
	if (status)
		return status;
	*result = (struct guest_efi){ .magic = GUEST_EFI_MAGIC,
				      .stage = STAGE_STARTED,
				      .cpus = 1 };
	copy (GUEST_EFI_DONE, rest, rest_end);
	copy (GUEST_EFI_FAILED, rest, rest_end);
	require (CHECK_MEMORY,
		 services->allocate_pages (ALLOCATE_MAX_ADDRESS,
					   EFI_LOADER_DATA, 1, &code),
		 EFI_SUCCESS);

	check_exit ();
	result->stage = STAGE_EXIT;
	use_mp_services (services);
	result->stage = STAGE_MP;
	end_boot_services (image, services);
	result->stage = STAGE_ENDED;
	if (result->mp_ids) {
		result->one_id = 31 - __builtin_clz (result->mp_ids);
		start_aps (result->one_id, 0, code, 1u << result->one_id);
		result->started_one = 1u << result->one_id;
		result->stage = STAGE_ONE;
	}
	start_aps (0, ICR_ALL_BUT_SELF, code, result->mp_ids);
	result->started_all = result->mp_ids;
	result->stage = STAGE_ALL;
	print ("guest: all processors have started\r\n");
	end_at (GUEST_EFI_DONE);
}
