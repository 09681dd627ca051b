/* lab10: the delayed start of the APs, and the way back to the firmware. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "initfunc.h"
#include "mm.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "uefi.h"
#include "x86.h"

#define SEG_CODE64 0xA9B /* present, ring 0, code of 64 bits, 4 KiB units */
#define SEG_DATA   0xC93 /* present, ring 0, writable data, 4 KiB units */

static void (*ap_start_func) (void); /* NULL: there is nothing to start */

/* Remember how the APs are started.
 *
 * On entry: the BSP, on a machine that was booted by UEFI, no lock held,
 * interrupts off.  The APs still belong to the firmware: what starts them now
 * loses them again.
 *
 * Must: remember start for handle_ap_start, and return.  Do not call start, and
 * send no IPI. */
void
localapic_delayed_ap_start (void (*start) (void))
{
	ap_start_func = start;
}

/* Let a virtual CPU go on as the firmware's code that has called the VMM: as if
 * uefi_entry had returned EFI_SUCCESS.
 *
 * On entry: the BSP, once; svm_vminit has been called, SVM is on, and the guest
 * does not run.  uefi_state is the firmware's state at uefi_entry, and at the
 * physical address uefi_state.rsp there is a struct uefi_frame
 * (include/uefi.h).  The VMM has left the firmware's DR6, DR7, TR, LDTR, PAT
 * and all MSRs that VMSAVE stores as they were; FS and GS are the VMM's.  All
 * that this function has to set may hold anything.
 *
 * Must: set the guest's state in v->vmcb and v->regs.  Nothing else in *v or in
 * the VMCB changes.
 *
 *   - CR0, CR3, CR4, GDTR, IDTR and the selectors of ES, CS, SS, DS, FS and GS:
 *     those of uefi_state.  EFER: that of uefi_state with SVME, without which
 *     VMRUN refuses a guest.
 *   - The hidden parts of these segments: base 0, limit 4 GiB, ring 0; CS is
 *     code of 64 bits, the others are writable data.  But FS and GS have the
 *     bases that uefi_state says.
 *   - TR, LDTR, the MSRs that VMSAVE stores, and the PAT in g_pat: what this
 *     CPU has now.
 *   - CPL and CR2: 0; DR6: 0xFFFF0FF0; DR7: 0x400.
 *   - RBX, RBP, RDI, RSI, R12 to R15 and RFLAGS: those in the struct
 *     uefi_frame.  RIP: its return address.  RSP: the address above it, as RET
 *     leaves it.
 *   - RAX: 0, which is EFI_SUCCESS.  No interrupt shadow, no event to
 *     inject. */
void
svm_state_uefi (struct vcpu *v)
{
	struct vmcb *cpu = alloc (PAGESIZE), *b = v->vmcb;
	const u16 sel[6] = { uefi_state.es, uefi_state.cs, uefi_state.ss,
			     uefi_state.ds, uefi_state.fs, uefi_state.gs };
	struct vmcb_seg *seg = &b->es;
	u64 frame[10], *from;
	uint i;

	memset (cpu, 0, PAGESIZE);
	asm_vmsave ((ulong)cpu - VMM_BASE);
	b->tr = cpu->tr;
	b->ldtr = cpu->ldtr;
	memcpy (&b->star, &cpu->star, (u8 *)&cpu->cr2 - (u8 *)&cpu->star);
	for (i = 0; i < 6; i++) {
		seg[i].sel = sel[i];
		seg[i].attr = i == 1 ? 0xA99 : 0xC93;
		seg[i].limit = -1;
		seg[i].base = 0;
	}
	b->fs.base = uefi_state.fs_base;
	b->gs.base = uefi_state.gs_base;
	b->gdtr.base = uefi_state.gdtr_base;
	b->gdtr.limit = uefi_state.gdtr_limit;
	b->idtr.base = uefi_state.idtr_base;
	b->idtr.limit = uefi_state.idtr_limit;
	b->cr0 = uefi_state.cr0;
	b->cr3 = uefi_state.cr3;
	b->cr4 = uefi_state.cr4;
	b->efer = EFER_SVME | uefi_state.efer;
	b->cpl = b->cr2 = 0;
	b->dr7 = 0x400;
	b->dr6 = 0xFFFF0FF0;
	b->g_pat = asm_rdmsr (MSR_PAT);

	from = mapmem (MAPMEM_HPHYS, uefi_state.rsp, sizeof frame);
	memcpy (frame, from, sizeof frame);
	unmapmem (from, sizeof frame);
	b->rflags = frame[0];
	v->regs.r15 = frame[1];
	v->regs.r14 = frame[2];
	v->regs.r13 = frame[3];
	v->regs.r12 = frame[4];
	v->regs.rsi = frame[5];
	v->regs.rdi = frame[6];
	v->regs.rbp = frame[7];
	v->regs.rbx = frame[8];
	b->rip = frame[9];
	v->regs.rcx = v->regs.rdx = v->regs.r8 = 0xDEADBEEFDEADBEEF;
	b->rsp = uefi_state.rsp + 80;
	b->rax = 0;
	b->eventinj = 0;
	b->interrupt_shadow = 0;
}

/* The guest is about to send INIT or SIPI: if the APs wait for that, start them
 * now.
 *
 * On entry: the CPU whose guest has written to its ICR, outside of its guest, no
 * lock held, interrupts off.  localapic_icr calls this function for each INIT
 * and each SIPI of the guest, before it asks localapic_is_destination which
 * virtual CPUs are meant; several CPUs may call it at the same time.  But as
 * long as the APs wait only the BSP runs a guest.  The APIC id of the BSP need
 * not be 0.
 *
 * Must: if localapic_delayed_ap_start was given a function, call it, but only
 * once in all.  When it has returned, call the init functions of group "dbsp",
 * in which the BSP meets the APs at the barriers that they come to.  If there
 * is nothing to call, as with a BIOS, do nothing.  Send no INIT and no SIPI
 * yourself.  On return APIC_ICR_HIGH may hold anything: its destination has
 * been read, and a guest under UEFI writes it again before each IPI. */
void
handle_ap_start (void)
{
	static volatile enum {
		FIRST,
		BUSY,
		DONE
	} state;
	u32 high;

	if (!ap_start_func || state != FIRST)
		return;
	state = BUSY;
	high = apic_read (APIC_ICR_HIGH);
	ap_start_func ();
	call_initfunc ("dbsp");
	apic_write (APIC_ICR_HIGH, high);
	state = DONE;
}
