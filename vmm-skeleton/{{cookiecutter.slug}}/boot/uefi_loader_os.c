/* What the EFI loader gives to the operating system that it starts, besides
 * the processor: a command line and, for Linux, an initial file system. */

#include "efi.h"

/* In boot/uefi_loader_room.S; nothing in them: there is none. */
extern u16 os_options[], os_options_end[]; /* UTF-16, its end is a 0 */
extern u8 os_initrd[], os_initrd_end[];

static const struct efi_guid loaded_image = {
	.data1 = 0x5B1B31A1,
	.data2 = 0x9562,
	.data3 = 0x11D2,
	.data4 = { 0x8E, 0x3F, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B },
};
static const struct efi_guid device_path = {
	.data1 = 0x09576E91,
	.data2 = 0x6D3F,
	.data3 = 0x11D2,
	.data4 = { 0x8E, 0x39, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B },
};
static const struct efi_guid load_file2 = {
	.data1 = 0x4006C0C1,
	.data2 = 0xFCB3,
	.data3 = 0x403E,
	.data4 = { 0x99, 0x6D, 0x4A, 0x6C, 0x87, 0x24, 0xE0, 0x6D },
};

/* Linux looks for its initial file system at a device of this path, whose one
 * node has no other use: LINUX_EFI_INITRD_MEDIA_GUID in
 * drivers/firmware/efi/libstub/efi-stub-helper.c. */
static struct {
	struct efi_device_path vendor;
	struct efi_guid guid;
	struct efi_device_path end;
} __attribute__ ((packed)) initrd_path = {
	.vendor = { EFI_MEDIA_DEVICE_PATH,
		    EFI_MEDIA_VENDOR,
		    { sizeof (struct efi_device_path) +
			      sizeof (struct efi_guid),
		      0 } },
	.guid = { .data1 = 0x5568E427,
		  .data2 = 0x68FC,
		  .data3 = 0x4F3D,
		  .data4 = { 0xAC, 0x74, 0xCA, 0x55, 0x52, 0x31, 0xCC, 0x68 } },
	.end = { EFI_END_DEVICE_PATH,
		 EFI_END_ENTIRE,
		 { sizeof (struct efi_device_path), 0 } },
};

/* EFI_LOAD_FILE2_PROTOCOL.LoadFile: section 13.2.  Called once to ask for the
 * size, then to load. */
static efi_status EFIAPI
load_initrd (struct efi_load_file2 *self, void *path, u8 boot_policy, u64 *size,
	     void *buffer)
{
	u64 len = os_initrd_end - os_initrd, i;

	(void)self;
	(void)path;
	if (boot_policy)
		return EFI_UNSUPPORTED;
	if (!size)
		return EFI_INVALID_PARAMETER;
	if (!buffer || *size < len) {
		*size = len;
		return EFI_BUFFER_TOO_SMALL;
	}
	*size = len;
	for (i = 0; i < len; i++)
		((u8 *)buffer)[i] = os_initrd[i];
	return EFI_SUCCESS;
}

static efi_status
offer_initrd (struct efi_boot_services *services)
{
	static struct efi_load_file2 file = { load_initrd };
	efi_handle device = NULL;
	efi_status status;

	status = services->install_protocol (
		&device, &device_path, EFI_NATIVE_INTERFACE, &initrd_path);
	if (status)
		return status;
	return services->install_protocol (&device, &load_file2,
					   EFI_NATIVE_INTERFACE, &file);
}

efi_status
equip_os (struct efi_boot_services *services, efi_handle os)
{
	struct efi_loaded_image *image;
	efi_status status;

	if (&os_options_end[0] != &os_options[0]) {
		status = services->handle_protocol (os, &loaded_image,
						    (void **)&image);
		if (status)
			return status;
		image->load_options = os_options;
		image->load_options_size =
			(u8 *)os_options_end - (u8 *)os_options;
	}
	if (&os_initrd_end[0] != &os_initrd[0])
		return offer_initrd (services);
	return EFI_SUCCESS;
}
