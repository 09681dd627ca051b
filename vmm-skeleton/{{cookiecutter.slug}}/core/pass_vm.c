/* The virtual machine: all CPUs make it together, one virtual CPU each.  Its
 * devices are the real ones. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "guest.h"
#include "initfunc.h"
#include "mm.h"
#include "multiboot.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"
#include "string.h"
#include "svm.h"
#include "tracepoints.h"
#include "uefi.h"
#include "x86.h"

#define SECTOR_SIZE	512
#define BIOS_DRIVE	0x80 /* the first hard disk, in DL */
#define NUM_OF_BARRIERS 3    /* in create_pass_vm */

extern const u8 guest_wait[], guest_wait_end[];
extern const u8 guest_read_mbr[], guest_read_mbr_end[];

struct vcpu *vcpus[NUM_OF_PCPU];

/* Images without lab 10 have none. */
#pragma weak svm_state_uefi

/* Written by the BSP between the barriers. */
static u64 np_root;
static u16 bsp_ip; /* where its guest starts, in segment 0 */
static u8 ap_vector;

/* APM 15.4: whether the processor has SVM, the firmware has left it on, and it
 * has nested paging. */
static bool
svm_available (void)
{
	u32 a, b, c, d;

	asm_cpuid (CPUID_MAX_EXT, &a, &b, &c, &d);
	if (a < CPUID_SVM)
		return false;
	asm_cpuid (CPUID_EXT, &a, &b, &c, &d);
	if (!(c & CPUID_EXT_ECX_SVM) || (asm_rdmsr (MSR_VM_CR) & VM_CR_SVMDIS))
		return false;
	asm_cpuid (CPUID_SVM, &a, &b, &c, &d);
	return d & CPUID_SVM_EDX_NP;
}

static void
copy_to_guest (u32 physaddr, const void *from, uint len)
{
	u8 *to = mapmem_hphys (physaddr, len, MAPMEM_WRITE);

	memcpy (to, from, len);
	unmapmem (to, len);
}

/* The first module, as a BIOS would have read it from the disk.  If it begins
 * with a struct guest_header, tell it how many processors there are, and let
 * the APs start where it says. */
static void
load_module (u32 start, uint len)
{
	struct guest_header *header;
	const u8 *from;

	if (len > GUEST_MAX_SIZE)
		len = GUEST_MAX_SIZE;
	from = mapmem_hphys (start, len, 0);
	copy_to_guest (GUEST_MBR, from, len);
	unmapmem ((void *)from, len);

	header = mapmem_hphys (GUEST_MBR, sizeof *header, MAPMEM_WRITE);
	if (header->magic == GUEST_MAGIC) {
		header->cpus = num_of_processors + 1;
		ap_vector = header->ap_vector;
	}
	unmapmem (header, sizeof *header);
}

/* Put into low memory what the guests begin with: on the BSP the MBR, on each
 * AP code that waits. */
static void
load_guest (void)
{
	const struct multiboot_module *mod;

	copy_to_guest (GUEST_WAIT_VECTOR << 12, guest_wait,
		       guest_wait_end - guest_wait);
	ap_vector = GUEST_WAIT_VECTOR;
	bsp_ip = GUEST_MBR;
	if (mi.flags & MULTIBOOT_INFO_MODS && mi.mods_count) {
		mod = mapmem_hphys (mi.mods_addr, sizeof *mod, 0);
		load_module (mod->mod_start, mod->mod_end - mod->mod_start);
		unmapmem ((void *)mod, sizeof *mod);
	} else {
		/* The guest itself calls the BIOS, in real mode. */
		copy_to_guest (GUEST_READ_MBR, guest_read_mbr,
			       guest_read_mbr_end - guest_read_mbr);
		bsp_ip = GUEST_READ_MBR;
	}
}

/* The next three are those of images without lab9, where nothing handles a
 * guest's writes to its APIC: let them through. */
__attribute__ ((weak)) void
localapic_mmio_register (void)
{
	np_map (APIC_PHYS, APIC_PHYS, PAGESIZE, true, true);
}

__attribute__ ((weak)) void
localapic_vcpu_init (struct vcpu *v)
{
	(void)v;
}

__attribute__ ((weak)) void
svm_mainloop (struct vcpu *v)
{
	svm_start_vm (v);
}

/* What the guests see of memory. */
static void
make_nested_tables (void)
{
	np_root = np_init ();
	np_hide_vmm ();
	if (uefi_booted) /* the heap does not follow the image */
		np_map (uefi_boot.heap, 0, uefi_boot.heap_len, false, false);
	np_protect_apic ();
	localapic_mmio_register ();
}

static struct vcpu *
make_vcpu (void)
{
	struct vcpu *v = alloc (sizeof *v);

	memset (v, 0, sizeof *v);
	svm_vminit (v, np_root);
	v->apic_id = currentcpu->apic_id;
	v->startup = currentcpu->cpunum ? VCPU_WAITS : VCPU_RUNS;
	localapic_vcpu_init (v);
	if (currentcpu->cpunum) {
		svm_reset (v, ap_vector << 8, 0); /* as after a SIPI */
	} else if (uefi_booted) {
		svm_state_uefi (v); /* as the EFI loader goes on */
	} else {
		svm_reset (v, 0, bsp_ip); /* as a BIOS starts an MBR */
		v->regs.rdx = BIOS_DRIVE;
	}
	np_flush (v); /* the tables are new */
	vcpus[currentcpu->cpunum] = v;
	return v;
}

static void
create_pass_vm (void)
{
	bool bsp = !currentcpu->cpunum;
	struct vcpu *v;

	if (!svm_available ()) {
		if (bsp)
			printf ("No guest: this processor has no AMD SVM with "
				"nested paging.\n");
		return;
	}
	if (uefi_booted && !svm_state_uefi) {
		if (bsp)
			printf ("No guest under UEFI yet (lab 10).\n");
		return;
	}
	svm_init ();
	sync_all_processors (); /* SVM is on everywhere */
	if (bsp) {
		make_nested_tables ();
		if (!uefi_booted)
			load_guest ();
	}
	sync_all_processors (); /* the guest's memory is there */
	v = make_vcpu ();
	sync_all_processors (); /* every CPU has a virtual CPU */
	if (bsp)
		printf ("Starting a virtual machine.\n");
	vmm_guest_starts ((ulong)v->vmcb - VMM_BASE);
	svm_mainloop (v);
}

/* With UEFI the BSP has passed all barriers alone.  Its guest has made it start
 * the APs now, and they come to the same barriers. */
static void
meet_aps (void)
{
	uint i;

	for (i = 0; i < NUM_OF_ROUNDS + NUM_OF_BARRIERS; i++)
		sync_all_processors ();
}

INITFUNC ("vmm0", create_pass_vm);
INITFUNC ("dbsp0", meet_aps);
