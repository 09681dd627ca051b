/* An experiment, for a debugger: the VMM starts the APs while they still belong
 * to the firmware, and then the firmware uses them.  Nothing happens unless
 * uefi_take_aps is set before bsp_proc runs. */

#include "ap.h"
#include "initfunc.h"
#include "mm.h"
#include "multiboot.h"
#include "panic.h"
#include "printf.h"
#include "uefi.h"

/* EFI_MP_SERVICES_PROTOCOL: UEFI Platform Initialization Specification 1.7,
 * volume 2, 13.3. */
struct mp_services {
	u64 get_number_of_processors, get_processor_info, startup_all_aps;
	u64 startup_this_ap, switch_bsp, enable_disable_ap, who_am_i;
};

volatile bool uefi_take_aps;

static u8 mp_services_guid[16] = { 0x05, 0xA6, 0xDD, 0x3F, 0x6E, 0xA7,
				   0x46, 0x4F, 0xAD, 0x29, 0x12, 0xF4,
				   0x53, 0x1B, 0x3D, 0x08 };

static u64
physical (void *p)
{
	return (ulong)p - VMM_BASE;
}

/* Let the firmware enable an AP again: it sends INIT and SIPI for that, as for
 * everything that it does with an AP. */
static void
firmware_uses (u64 mp, u64 enable_disable_ap, u32 number)
{
	uefi_call (enable_disable_ap, mp, number, false, 0);
	uefi_call (enable_disable_ap, mp, number, true, 0);
}

static void
uefi_experiment (void)
{
	static u64 mp;
	struct mp_services *services;
	u64 function;
	u32 i;

	if (!uefi_booted || !uefi_take_aps)
		return;
	ap_start ();
	printf ("experiment: %u APs run in the VMM\n", num_of_processors);
	if (uefi_call (uefi_boot.locate_protocol, physical (mp_services_guid),
		       0, physical (&mp), 0))
		panic ("experiment: the firmware has no MP services");
	services = mapmem_hphys (mp, sizeof *services, 0);
	function = services->enable_disable_ap;
	unmapmem (services, sizeof *services);
	for (i = 1; i <= num_of_processors; i++)
		firmware_uses (mp, function, i);
	printf ("experiment: the firmware has used its APs\n");
}

INITFUNC ("bsp1", uefi_experiment);
