/* What the firmware's ACPI tables tell. */
#ifndef ACPI_H
#define ACPI_H

#include "types.h"

/* Processors that the firmware calls enabled, the BSP among them; 0 if there
 * are no tables that say.  Valid from initfunc "global2" on. */
u32 acpi_num_of_processors (void);

/* The APIC id of one of them, 0 <= index < acpi_num_of_processors (). */
u32 acpi_apic_id (u32 index);

/* The ACPI PM timer, if there is one: 3.579545 MHz, 24 or 32 bits wide. */
bool acpi_pm_timer (u16 *port, u32 *mask);

#endif
