/* The EFI loader, an application for UEFI firmware that is linked on its own:
 * loader.efi.  It puts the VMM where it is linked, allocates memory for it and
 * enters it at uefi_entry.  If the VMM returns, what runs here is its guest,
 * which starts the operating system that the loader carries.
 *
 * VMM and operating system are part of the file, or, if that was built with
 * HOLD, are written into uefi_box and its two buffers from outside while the
 * loader waits. */

#include "asm.h"
#include "efi.h"
#include "uefi.h"
#include "x86.h"

#define PAGE_SIZE  4096
#define HEAP_LEN   0x400000
#define HEAP_LIMIT 0x3FFFFFFF /* the alias of the VMM ends there */
#define MAX_LINE   160

#define PT_LOAD 1

/* The ELF header and a program header: System V ABI, chapters 4 and 5. */
struct elf32 {
	u8 ident[16];
	u16 type, machine;
	u32 version, entry, phoff, shoff, flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf32_phdr {
	u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
};

extern volatile struct {
	u8 magic[16];
	u64 hold;    /* wait until this is 0 */
	u64 vmm;     /* address of the VMM's file, ELF32 */
	u64 vmm_len; /* its length */
	u64 room_len;
	u64 os; /* address of the operating system, an EFI application */
	u64 os_len;
	u64 os_room_len;
} uefi_box;
extern u8 vmm[], os[];

static struct efi_system_table *system_table;
static char line[MAX_LINE];
static uint line_len;

static void
add_char (char c)
{
	if (line_len < MAX_LINE)
		line[line_len++] = c;
}

static void
add (const char *text)
{
	while (*text)
		add_char (*text++);
}

static void
add_hex (u64 value)
{
	int shift = 60;

	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		add_char ("0123456789abcdef"[value >> shift & 15]);
}

static void
serial_put (char c)
{
	while (!(asm_inb (COM1_LSR) & COM1_LSR_THRE))
		asm_pause ();
	asm_outb (COM1, c);
}

/* Print the line to COM1, and begin a new one. */
static void
end_line (void)
{
	uint i;

	for (i = 0; i < line_len; i++)
		serial_put (line[i]);
	serial_put ('\r');
	serial_put ('\n');
	line_len = 0;
}

/* Print the line to the firmware's console, where a PC without a serial line
 * shows it, and to COM1. */
static efi_status
fail (efi_status status)
{
	static u16 wide[MAX_LINE + 3];
	struct efi_text_output *out = system_table->con_out;
	uint i;

	if (status) {
		add (" (status 0x");
		add_hex (status);
		add (")");
	}
	for (i = 0; i < line_len; i++)
		wide[i] = line[i];
	wide[i++] = '\r';
	wide[i++] = '\n';
	wide[i] = 0;
	end_line ();
	if (out)
		out->output_string (out, wide);
	return status ? status : EFI_LOAD_ERROR;
}

static void
copy (void *to, const void *from, u64 len)
{
	u8 *t = to;
	const u8 *f = from;

	while (len--)
		*t++ = *f++;
}

static bool
equal (const void *a, const void *b, uint len)
{
	const u8 *x = a, *y = b;

	while (len && *x == *y)
		x++, y++, len--;
	return !len;
}

/* Return the program headers of the VMM's file, NULL if it is not a whole
 * ELF32 file. */
static const struct elf32_phdr *
program_headers (const struct elf32 *elf, u64 len)
{
	const struct elf32_phdr *phdr;
	u16 i;

	if (len < sizeof *elf || len > uefi_box.room_len ||
	    !equal (elf->ident, "\177ELF\1", 5) ||
	    elf->phentsize != sizeof *phdr ||
	    elf->phoff + (u64)elf->phnum * sizeof *phdr > len)
		return NULL;
	phdr = (const void *)((const u8 *)elf + elf->phoff);
	for (i = 0; i < elf->phnum; i++)
		if (phdr[i].type == PT_LOAD &&
		    ((u64)phdr[i].offset + phdr[i].filesz > len ||
		     phdr[i].filesz > phdr[i].memsz))
			return NULL;
	return phdr;
}

/* Put the VMM at the physical address that it is linked at. */
static efi_status
load_vmm (struct uefi_boot *boot)
{
	const struct elf32 *elf = (const void *)uefi_box.vmm;
	const struct elf32_phdr *phdr;
	u64 start = ~0ULL, end = 0;
	efi_status status;
	u16 i;

	phdr = program_headers (elf, uefi_box.vmm_len);
	if (!phdr) {
		add ("vmmlab-loader: the VMM's file is damaged or missing");
		return fail (0);
	}
	for (i = 0; i < elf->phnum; i++) {
		if (phdr[i].type != PT_LOAD || !phdr[i].memsz)
			continue;
		if (phdr[i].paddr < start)
			start = phdr[i].paddr & ~(u64)(PAGE_SIZE - 1);
		if ((u64)phdr[i].paddr + phdr[i].memsz > end)
			end = (u64)phdr[i].paddr + phdr[i].memsz;
	}
	if (start >= end) {
		add ("vmmlab-loader: the VMM's file has nothing to load");
		return fail (0);
	}
	boot->image = start;
	boot->image_len = (end - start + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1ULL);
	status = system_table->boot_services->allocate_pages (
		ALLOCATE_ADDRESS, EFI_UNUSABLE_MEMORY,
		boot->image_len / PAGE_SIZE, &start);
	if (status) {
		add ("vmmlab-loader: no memory at the VMM's address: 0x");
		add_hex (boot->image);
		add (", 0x");
		add_hex (boot->image_len);
		add (" bytes");
		return fail (status);
	}
	for (end = start; end < start + boot->image_len; end++)
		*(volatile u8 *)end = 0;
	for (i = 0; i < elf->phnum; i++)
		if (phdr[i].type == PT_LOAD)
			copy ((void *)(u64)phdr[i].paddr,
			      (const u8 *)elf + phdr[i].offset, phdr[i].filesz);
	return EFI_SUCCESS;
}

/* Return the physical address of uefi_entry, 0 if this VMM has none. */
static u64
find_entry (const struct uefi_boot *boot)
{
	const u8 *p = (const u8 *)boot->image;
	const u8 *end = p + boot->image_len - 24;

	for (; p <= end; p += 8)
		if (equal (p, UEFI_ENTRY_MAGIC, 16))
			return *(const u64 *)(p + 16);
	return 0;
}

static const struct efi_guid acpi_20 = {
	.data1 = 0x8868E871,
	.data2 = 0xE4F1,
	.data3 = 0x11D3,
	.data4 = { 0xBC, 0x22, 0x00, 0x80, 0xC7, 0x3C, 0x88, 0x81 },
};
static const struct efi_guid acpi_10 = {
	.data1 = 0xEB9D2D30,
	.data2 = 0x2D88,
	.data3 = 0x11D3,
	.data4 = { 0x9A, 0x16, 0x00, 0x90, 0x27, 0x3F, 0xC1, 0x4D },
};

/* Return the address of the RSDP (ACPI specification 6.4, 5.2.5.2): that of
 * ACPI 1.0 if there is no other, 0 if there is none. */
static u64
find_rsdp (void)
{
	const struct efi_configuration_table *table;
	u64 found = 0, i;

	for (i = 0; i < system_table->number_of_table_entries; i++) {
		table = &system_table->configuration_table[i];
		if (equal (&table->vendor_guid, &acpi_20, sizeof acpi_20))
			return (u64)table->vendor_table;
		if (equal (&table->vendor_guid, &acpi_10, sizeof acpi_10))
			found = (u64)table->vendor_table;
	}
	return found;
}

static efi_status
start_os (efi_handle image)
{
	struct efi_boot_services *services = system_table->boot_services;
	efi_handle started = NULL;
	efi_status status;

	status = services->load_image (false, image, NULL, (void *)uefi_box.os,
				       uefi_box.os_len, &started);
	if (status) {
		add ("vmmlab-loader: the firmware refuses the guest's file");
		return fail (status);
	}
	status = equip_os (services, started);
	if (status) {
		add ("vmmlab-loader: the guest gets no command line or files");
		return fail (status);
	}
	return services->start_image (started, NULL, NULL);
}

efi_status EFIAPI
efi_start (efi_handle image, struct efi_system_table *table)
{
	struct uefi_boot boot = {
		.heap = HEAP_LIMIT,
		.heap_len = HEAP_LEN,
		.allocate_pages = (u64)table->boot_services->allocate_pages,
		.locate_protocol = (u64)table->boot_services->locate_protocol,
	};
	efi_status (EFIAPI * entry) (const struct uefi_boot *boot);
	efi_status status;

	system_table = table;
	/* The firmware resets a machine whose application runs for more than
	 * five minutes. */
	table->boot_services->set_watchdog_timer (0, 0, 0, NULL);
	uefi_box.vmm = (u64)vmm;
	uefi_box.os = (u64)os;
	if (uefi_box.hold) {
		add ("vmmlab-loader box=");
		add_hex ((u64)&uefi_box);
		end_line ();
		while (uefi_box.hold)
			asm_pause ();
	}
	if (!uefi_box.vmm_len && uefi_box.os_len)
		return start_os (image); /* without a VMM, to compare */

	if (asm_rdcr4 () & CR4_LA57) {
		add ("vmmlab-loader: the firmware uses 5-level paging, which "
		     "this VMM does not know");
		return fail (0);
	}
	status = load_vmm (&boot);
	if (status)
		return status;
	status = table->boot_services->allocate_pages (
		ALLOCATE_MAX_ADDRESS, EFI_UNUSABLE_MEMORY, HEAP_LEN / PAGE_SIZE,
		&boot.heap);
	if (status) {
		add ("vmmlab-loader: no memory below 1 GiB for the VMM's heap");
		return fail (status);
	}
	boot.rsdp = find_rsdp ();
	entry = (void *)find_entry (&boot);
	if (!entry) {
		add ("vmmlab-loader: this VMM has no UEFI entry: build lab6 or "
		     "a later lab, for x86_64");
		return fail (0);
	}
	status = entry (&boot);
	if (status || !uefi_box.os_len)
		return status;
	return start_os (image);
}
