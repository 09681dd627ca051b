/* The few ACPI tables that the bring-up needs: ACPI specification 6.4, chapter
 * 5.2.  They may be anywhere in memory, so they are read through mapmem. */

#include "acpi.h"
#include "initfunc.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"
#include "string.h"
#include "uefi.h"

#define BDA_EBDA_SEGMENT 0x40E
#define EBDA_LEN	 1024
#define BIOS_AREA	 0xE0000
#define BIOS_AREA_LEN	 0x20000
#define RSDP_STEP	 16
#define RSDP_V1_LEN	 20

#define MADT_ENTRIES	  44 /* offset of the first entry */
#define MADT_LOCAL_APIC	  0
#define MADT_LOCAL_X2APIC 9
#define MADT_ENABLED	  0x00000001

#define FADT_PM_TMR_BLK	  76
#define FADT_FLAGS	  112
#define FADT_X_PM_TMR_BLK 208
#define FADT_TMR_VAL_EXT  0x00000100 /* 32 bits */
#define GAS_SYSTEM_IO	  1
#define GAS_ADDRESS	  4 /* offset of the address */

struct rsdp {
	char signature[8]; /* "RSD PTR " */
	u8 checksum;
	char oemid[6];
	u8 revision;
	u32 rsdt_address;
	u32 length; /* revision 2 and later */
	u64 xsdt_address;
} __attribute__ ((packed));

struct table {
	char signature[4];
	u32 length;
	u8 revision;
	u8 checksum;
	u8 oem[26];
} __attribute__ ((packed));

_Static_assert(sizeof (struct table) == 36, "ACPI 5.2.6");

static u32 apic_ids[NUM_OF_PCPU];
static u32 num_of_apic_ids;
static u16 pm_timer_port; /* 0: none */
static u32 pm_timer_mask;

static bool
checksum_ok (const void *p, uint len)
{
	const u8 *byte = p;
	u8 sum = 0;

	while (len--)
		sum += *byte++;
	return !sum;
}

static u32
get32 (const void *table, uint offset)
{
	u32 value;

	memcpy (&value, (const u8 *)table + offset, sizeof value);
	return value;
}

static u64
get64 (const void *table, uint offset)
{
	u64 value;

	memcpy (&value, (const u8 *)table + offset, sizeof value);
	return value;
}

/* Copy the RSDP from this area, if it is there (ACPI 5.2.5.1). */
static bool
find_rsdp_in (u64 physaddr, uint len, struct rsdp *rsdp)
{
	const u8 *area = mapmem_hphys (physaddr, len, 0);
	bool found = false;
	uint i;

	for (i = 0; !found && i + sizeof *rsdp <= len; i += RSDP_STEP) {
		if (memcmp (area + i, "RSD PTR ", 8) ||
		    !checksum_ok (area + i, RSDP_V1_LEN))
			continue;
		memcpy (rsdp, area + i, sizeof *rsdp);
		found = true;
	}
	unmapmem ((void *)area, len);
	return found;
}

static bool
find_rsdp (struct rsdp *rsdp)
{
	const u16 *segment;
	u64 ebda;

	if (uefi_boot.rsdp)
		return find_rsdp_in (uefi_boot.rsdp, sizeof *rsdp, rsdp);
	segment = mapmem_hphys (BDA_EBDA_SEGMENT, 2, 0);
	ebda = (u64)*segment << 4;
	unmapmem ((void *)segment, 2);
	if (ebda && find_rsdp_in (ebda, EBDA_LEN, rsdp))
		return true;
	return find_rsdp_in (BIOS_AREA, BIOS_AREA_LEN, rsdp);
}

/* Map a table.  Return NULL if it is damaged. */
static const struct table *
map_table (u64 physaddr)
{
	const struct table *table;
	uint len;

	table = mapmem_hphys (physaddr, sizeof *table, 0);
	len = table->length;
	unmapmem ((void *)table, sizeof *table);
	if (len < sizeof *table)
		return NULL;
	table = mapmem_hphys (physaddr, len, 0);
	if (checksum_ok (table, len))
		return table;
	unmapmem ((void *)table, len);
	return NULL;
}

static void
add_processor (u32 apic_id, u32 flags)
{
	u32 i;

	if (!(flags & MADT_ENABLED))
		return;
	for (i = 0; i < num_of_apic_ids; i++)
		if (apic_ids[i] == apic_id)
			return; /* listed in both ways */
	if (num_of_apic_ids == NUM_OF_PCPU)
		panic ("more than %u processors", NUM_OF_PCPU);
	apic_ids[num_of_apic_ids++] = apic_id;
}

/* Multiple APIC Description Table, ACPI 5.2.12. */
static void
read_madt (const struct table *madt)
{
	const u8 *p = (const u8 *)madt + MADT_ENTRIES;
	const u8 *end = (const u8 *)madt + madt->length;

	for (; p + 2 <= end && p[1] >= 2 && p + p[1] <= end; p += p[1]) {
		if (p[0] == MADT_LOCAL_APIC && p[1] >= 8)
			add_processor (p[3], get32 (p, 4));
		else if (p[0] == MADT_LOCAL_X2APIC && p[1] >= 16)
			add_processor (get32 (p, 4), get32 (p, 8));
	}
}

/* Fixed ACPI Description Table, ACPI 5.2.9: the PM timer. */
static void
read_fadt (const struct table *fadt)
{
	const u8 *gas = (const u8 *)fadt + FADT_X_PM_TMR_BLK;
	u64 port = 0;

	if (fadt->length >= FADT_X_PM_TMR_BLK + 12 && gas[0] == GAS_SYSTEM_IO)
		port = get64 (gas, GAS_ADDRESS);
	if (!port && fadt->length >= FADT_FLAGS + 4)
		port = get32 (fadt, FADT_PM_TMR_BLK);
	if (!port || port > 0xFFFF)
		return;
	pm_timer_mask = 0xFFFFFF;
	if (get32 (fadt, FADT_FLAGS) & FADT_TMR_VAL_EXT)
		pm_timer_mask = 0xFFFFFFFF;
	pm_timer_port = port;
}

static void
read_table (u64 physaddr)
{
	const struct table *table = map_table (physaddr);

	if (!table)
		return;
	if (!memcmp (table->signature, "APIC", 4))
		read_madt (table);
	else if (!memcmp (table->signature, "FACP", 4))
		read_fadt (table);
	unmapmem ((void *)table, table->length);
}

static void
acpi_init (void)
{
	struct rsdp rsdp;
	const struct table *root = NULL;
	uint size = 8, offset;

	if (!find_rsdp (&rsdp)) {
		printf ("ACPI: no tables\n");
		return;
	}
	if (rsdp.revision >= 2 && rsdp.xsdt_address)
		root = map_table (rsdp.xsdt_address);
	if (!root) {
		size = 4;
		root = map_table (rsdp.rsdt_address);
	}
	if (!root) {
		printf ("ACPI: no root table\n");
		return;
	}
	for (offset = sizeof *root; offset + size <= root->length;
	     offset += size)
		read_table (size == 8 ? get64 (root, offset) :
					get32 (root, offset));
	unmapmem ((void *)root, root->length);
	printf ("ACPI: %u processors, %s\n", num_of_apic_ids,
		pm_timer_port ? "PM timer" : "no PM timer");
}

INITFUNC ("global4", acpi_init);

u32
acpi_num_of_processors (void)
{
	return num_of_apic_ids;
}

u32
acpi_apic_id (u32 index)
{
	return apic_ids[index];
}

bool
acpi_pm_timer (u16 *port, u32 *mask)
{
	*port = pm_timer_port;
	*mask = pm_timer_mask;
	return pm_timer_port != 0;
}
