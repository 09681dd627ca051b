/* The part of UEFI that the loader and the test guest need: UEFI Specification
 * 2.10, chapters 4 and 7.  The firmware's functions follow Microsoft's calling
 * convention. */
#ifndef EFI_H
#define EFI_H

#include "types.h"

#define EFIAPI __attribute__ ((ms_abi))

typedef u64 efi_status;
typedef void *efi_handle;

#define EFI_SUCCESS	      0ULL
#define EFI_LOAD_ERROR	      0x8000000000000001ULL
#define EFI_INVALID_PARAMETER 0x8000000000000002ULL
#define EFI_UNSUPPORTED	      0x8000000000000003ULL
#define EFI_BUFFER_TOO_SMALL  0x8000000000000005ULL

#define EFI_NATIVE_INTERFACE 0 /* the only type of a protocol's interface */

enum efi_allocate_type {
	ALLOCATE_ANY_PAGES,
	ALLOCATE_MAX_ADDRESS,
	ALLOCATE_ADDRESS,
};

/* Memory types: an operating system never uses the first and the last one. */
enum efi_memory_type {
	EFI_RESERVED_MEMORY_TYPE = 0,
	EFI_LOADER_DATA = 2,
	EFI_UNUSABLE_MEMORY = 8,
};

struct efi_guid {
	u32 data1;
	u16 data2, data3;
	u8 data4[8];
};

struct efi_table_header {
	u64 signature;
	u32 revision, header_size, crc32, reserved;
};

struct efi_text_output {
	void *reset;
	efi_status (EFIAPI *output_string) (struct efi_text_output *self,
					    const u16 *string);
};

struct efi_boot_services {
	struct efi_table_header hdr;
	void *raise_tpl, *restore_tpl;
	efi_status (EFIAPI *allocate_pages) (enum efi_allocate_type type,
					     enum efi_memory_type memory_type,
					     u64 pages, u64 *memory);
	void *free_pages;
	efi_status (EFIAPI *get_memory_map) (u64 *size, void *map, u64 *key,
					     u64 *descriptor_size,
					     u32 *descriptor_version);
	void *allocate_pool, *free_pool;
	void *create_event, *set_timer, *wait_for_event, *signal_event;
	void *close_event, *check_event;
	efi_status (EFIAPI *install_protocol) (efi_handle *handle,
					       const struct efi_guid *protocol,
					       u32 type, void *interface);
	void *reinstall_protocol, *uninstall_protocol;
	efi_status (EFIAPI *handle_protocol) (efi_handle handle,
					      const struct efi_guid *protocol,
					      void **interface);
	void *reserved, *register_protocol_notify;
	void *locate_handle, *locate_device_path, *install_table;
	efi_status (EFIAPI *load_image) (u8 boot_policy, efi_handle parent,
					 void *device_path, void *source,
					 u64 source_size, efi_handle *image);
	efi_status (EFIAPI *start_image) (efi_handle image, u64 *exit_data_size,
					  u16 **exit_data);
	void *exit, *unload_image;
	efi_status (EFIAPI *exit_boot_services) (efi_handle image, u64 map_key);
	void *get_next_monotonic_count, *stall;
	efi_status (EFIAPI *set_watchdog_timer) (u64 timeout, u64 code,
						 u64 data_size, u16 *data);
	void *connect_controller, *disconnect_controller;
	void *open_protocol, *close_protocol, *open_protocol_information;
	void *protocols_per_handle, *locate_handle_buffer;
	efi_status (EFIAPI *locate_protocol) (const struct efi_guid *protocol,
					      void *registration,
					      void **interface);
};

/* EFI_MP_SERVICES_PROTOCOL: UEFI Platform Initialization Specification 1.7,
 * volume 2, 13.3. */
#define EFI_MP_SERVICES_GUID                                                   \
	{                                                                      \
		0x3FDDA605, 0xA76E, 0x4F46,                                    \
		{                                                              \
			0xAD, 0x29, 0x12, 0xF4, 0x53, 0x1B, 0x3D, 0x08         \
		}                                                              \
	}

struct efi_mp_services {
	efi_status (EFIAPI *get_number_of_processors) (
		struct efi_mp_services *self, u64 *all, u64 *enabled);
	void *get_processor_info;
	efi_status (EFIAPI *startup_all_aps) (
		struct efi_mp_services *self,
		void (EFIAPI *procedure) (void *argument), u8 single_thread,
		void *wait_event, u64 timeout_us, void *argument,
		u64 **failed_cpu_list);
	void *startup_this_ap, *switch_bsp, *enable_disable_ap, *who_am_i;
};

/* EFI_LOADED_IMAGE_PROTOCOL: section 9.1 */
struct efi_loaded_image {
	u32 revision;
	efi_handle parent_handle;
	struct efi_system_table *system_table;
	efi_handle device_handle;
	void *file_path, *reserved;
	u32 load_options_size; /* in bytes */
	void *load_options;    /* the command line, usually */
};

/* A node of a device path: section 10.2.  Its length includes what follows. */
#define EFI_MEDIA_DEVICE_PATH 0x04 /* type */
#define EFI_MEDIA_VENDOR      0x03 /* subtype */
#define EFI_END_DEVICE_PATH   0x7F /* type */
#define EFI_END_ENTIRE	      0xFF /* subtype */

struct efi_device_path {
	u8 type, subtype;
	u8 length[2];
};

struct efi_load_file2 {
	efi_status (EFIAPI *load_file) (struct efi_load_file2 *self, void *path,
					u8 boot_policy, u64 *size,
					void *buffer);
};

struct efi_configuration_table {
	struct efi_guid vendor_guid;
	void *vendor_table;
};

struct efi_system_table {
	struct efi_table_header hdr;
	u16 *firmware_vendor;
	u32 firmware_revision, padding;
	efi_handle con_in_handle;
	void *con_in;
	efi_handle con_out_handle;
	struct efi_text_output *con_out;
	efi_handle std_err_handle;
	struct efi_text_output *std_err;
	void *runtime_services;
	struct efi_boot_services *boot_services;
	u64 number_of_table_entries;
	struct efi_configuration_table *configuration_table;
};

/* boot/uefi_loader_os.c: give the operating system that the loader carries its
 * command line and initial file system, before it is started. */
efi_status equip_os (struct efi_boot_services *services, efi_handle os);

#endif
