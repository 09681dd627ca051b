/* AMD SVM, and the virtual CPU that each processor runs.  For C and assembly.
 * APM chapter 15 describes SVM, APM appendix B the VMCB. */
#ifndef SVM_H
#define SVM_H

/* Offsets in struct svm_vmrun_regs, for assembly. */
#define SVM_REGS_RBX 0
#define SVM_REGS_RCX 8
#define SVM_REGS_RDX 16
#define SVM_REGS_RSI 24
#define SVM_REGS_RDI 32
#define SVM_REGS_RBP 40
#define SVM_REGS_R8  48
#define SVM_REGS_R9  56
#define SVM_REGS_R10 64
#define SVM_REGS_R11 72
#define SVM_REGS_R12 80
#define SVM_REGS_R13 88
#define SVM_REGS_R14 96
#define SVM_REGS_R15 104

/* CPUID: APM volume 3, appendix E */
#define CPUID_MAX_EXT	  0x80000000 /* leaf */
#define CPUID_EXT	  0x80000001 /* leaf */
#define CPUID_EXT_ECX_SVM 0x00000004
#define CPUID_SVM	  0x8000000A /* leaf */
#define CPUID_SVM_EDX_NP  0x00000001 /* nested paging */

/* Model-specific registers: APM 15.30 */
#define MSR_VM_CR	0xC0010114
#define MSR_VM_HSAVE_PA 0xC0010117
#define VM_CR_SVMDIS	0x00000010
#define EFER_SVME	0x00001000 /* APM 3.1.7 */

/* What is intercepted: vmcb.intercept1 and vmcb.intercept2.  APM appendix B */
#define INTERCEPT1_NMI	    0x00000002
#define INTERCEPT1_CPUID    0x00040000
#define INTERCEPT1_HLT	    0x01000000
#define INTERCEPT1_IOIO	    0x08000000 /* the ports set in the IOPM */
#define INTERCEPT1_MSR	    0x10000000 /* the MSRs set in the MSRPM */
#define INTERCEPT1_SHUTDOWN 0x80000000
#define INTERCEPT2_VMRUN    0x00000001 /* must be set: APM 15.5.1 */
#define INTERCEPT2_VMMCALL  0x00000002

/* Sizes of the permission maps in bytes; a set bit intercepts.  APM 15.10.1:
 * one bit for each port.  APM 15.11: two bits for each MSR. */
#define SVM_IOPM_SIZE  (3 * 4096)
#define SVM_MSRPM_SIZE (2 * 4096)

#define TLB_FLUSH_ALL 1 /* vmcb.tlb_control: APM 15.16.1 */

/* vmcb.exitcode: APM appendix C */
#define VMEXIT_NMI	0x61
#define VMEXIT_CPUID	0x72
#define VMEXIT_HLT	0x78
#define VMEXIT_IOIO	0x7B
#define VMEXIT_MSR	0x7C
#define VMEXIT_SHUTDOWN 0x7F
#define VMEXIT_VMRUN	0x80
#define VMEXIT_VMMCALL	0x81
#define VMEXIT_NPF	0x400
#define VMEXIT_INVALID	0xFFFFFFFFFFFFFFFF

/* vmcb.exitinfo1 after VMEXIT_IOIO: APM 15.10.2.  exitinfo2 is the RIP of the
 * next instruction. */
#define IOIO_IN		0x00000001 /* else OUT */
#define IOIO_STR	0x00000004 /* INS or OUTS */
#define IOIO_SZ8	0x00000010
#define IOIO_SZ16	0x00000020
#define IOIO_SZ32	0x00000040
#define IOIO_PORT_SHIFT 16

/* vmcb.exitinfo1 after VMEXIT_NPF: APM 15.25.6.  exitinfo2 is the
 * guest-physical address. */
#define NPF_WRITE 0x00000002
#define NPF_FETCH 0x00000010

/* vmcb.eventinj and vmcb.exitintinfo: APM 15.20 */
#define EVENT_EXCEPTION	 0x00000300
#define EVENT_ERROR_CODE 0x00000800 /* in the upper half */
#define EVENT_VALID	 0x80000000
#define VECTOR_UD	 6
#define VECTOR_GP	 13

/* vcpu.startup: whether a virtual CPU runs its guest.  Any other value is the
 * vector of a SIPI that has come and that the CPU has not obeyed yet. */
#define VCPU_WAITS 0x100 /* for a SIPI */
#define VCPU_RUNS  0x200

/* What a guest may ask the VMM for: VMMCALL with one of these in EAX.  The
 * answer is in RAX, and no other register changes. */
#define VMMCALL_CPUNUM	0		   /* currentcpu->cpunum */
#define VMMCALL_UNKNOWN 0xFFFFFFFFFFFFFFFF /* the answer to all others */
#define VMMCALL_EXITS	0x1000 /* core/svm_main.c prints the exits, too */

#ifndef __ASSEMBLER__
#include "linkage.h"
#include "types.h"

/* Segment register; attr is bits 40-47 and 52-55 of a descriptor. */
struct vmcb_seg {
	u16 sel;
	u16 attr;
	u32 limit;
	u64 base;
};

/* APM appendix B: the control area, then, from 0x400 on, the state of the
 * guest. */
struct vmcb {
	u32 intercept_cr;
	u32 intercept_dr;
	u32 intercept_exceptions;
	u32 intercept1;
	u32 intercept2;
	u8 reserved0[0x40 - 0x14];
	u64 iopm_base_pa;
	u64 msrpm_base_pa;
	u64 tsc_offset;
	u32 guest_asid;
	u8 tlb_control;
	u8 reserved1[3];
	u64 v_intr;
	u64 interrupt_shadow;
	u64 exitcode;
	u64 exitinfo1;
	u64 exitinfo2;
	u64 exitintinfo;
	u64 np_enable;
	u8 reserved2[0xA8 - 0x98];
	u64 eventinj;
	u64 n_cr3;
	u8 reserved3[0x400 - 0xB8];
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved4[0x4CB - 0x4A0];
	u8 cpl;
	u32 reserved5;
	u64 efer;
	u8 reserved6[0x548 - 0x4D8];
	u64 cr4;
	u64 cr3;
	u64 cr0;
	u64 dr7;
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 reserved7[0x5D8 - 0x580];
	u64 rsp;
	u8 reserved8[0x5F8 - 0x5E0];
	u64 rax;
	u64 star;
	u64 lstar;
	u64 cstar;
	u64 sfmask;
	u64 kernel_gs_base;
	u64 sysenter_cs;
	u64 sysenter_esp;
	u64 sysenter_eip;
	u64 cr2;
	u8 reserved9[0x668 - 0x648];
	u64 g_pat;
	u8 reserved10[0x1000 - 0x670];
};

#define VMCB_FIELD(name, offset)                                               \
	_Static_assert(offsetof (struct vmcb, name) == (offset),               \
		       "APM B: " #name)

VMCB_FIELD (iopm_base_pa, 0x040);
VMCB_FIELD (guest_asid, 0x058);
VMCB_FIELD (exitcode, 0x070);
VMCB_FIELD (np_enable, 0x090);
VMCB_FIELD (eventinj, 0x0A8);
VMCB_FIELD (n_cr3, 0x0B0);
VMCB_FIELD (es, 0x400);
VMCB_FIELD (tr, 0x490);
VMCB_FIELD (cpl, 0x4CB);
VMCB_FIELD (efer, 0x4D0);
VMCB_FIELD (cr4, 0x548);
VMCB_FIELD (rip, 0x578);
VMCB_FIELD (rsp, 0x5D8);
VMCB_FIELD (rax, 0x5F8);
VMCB_FIELD (kernel_gs_base, 0x620);
VMCB_FIELD (cr2, 0x640);
VMCB_FIELD (g_pat, 0x668);
_Static_assert(sizeof (struct vmcb) == 4096, "APM 15.5.1");

/* The guest's registers that the VMCB does not have.  RAX, RSP, RIP and RFLAGS
 * are in the VMCB. */
struct svm_vmrun_regs {
	u64 rbx, rcx, rdx, rsi, rdi, rbp;
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
};

_Static_assert(offsetof (struct svm_vmrun_regs, rbp) == SVM_REGS_RBP, "order");
_Static_assert(offsetof (struct svm_vmrun_regs, r15) == SVM_REGS_R15, "order");

#define EXIT_KINDS 7 /* that core/exits.c tells apart */

/* The virtual CPU of one processor.  Only that processor uses it, but for
 * startup, which other CPUs change at any time. */
struct vcpu {
	struct vmcb *vmcb;
	struct vmcb
		*vmcbhost; /* for VMSAVE and VMLOAD of the VMM's own state */
	struct svm_vmrun_regs regs;
	u32 apic_id;	       /* of the processor, and of its guest */
	volatile u32 startup;  /* lab9 */
	u64 exits[EXIT_KINDS]; /* core/exits.c */
};

/* Those of the processors 0 to num_of_processors, by their number, when all
 * processors have one. */
extern struct vcpu *vcpus[];

/* lab7 */
void svm_init (void);
void svm_vminit (struct vcpu *v, u64 n_cr3);
void svm_reset (struct vcpu *v, u16 cs, u16 ip);
asmlinkage void asm_vmrun_regs_64 (struct svm_vmrun_regs *p, ulong vmcb_phys,
				   ulong vmcbhost_phys);
void do_cpuid (struct vcpu *v);
void do_vmmcall (struct vcpu *v);
void do_ioio (struct vcpu *v);
noreturn void svm_start_vm (struct vcpu *v);

/* lab10; images without that lab have none, and run no guest with UEFI */
void svm_state_uefi (struct vcpu *v);

/* core/svm_main.c, or what takes its place in images without lab9 */
noreturn void svm_mainloop (struct vcpu *v);
void localapic_mmio_register (void);
void localapic_vcpu_init (struct vcpu *v);

/* core/localapic_decode.c: whether the guest has exited for a write of 32 bits
 * by an instruction that is decoded.  If so, *value is what it wrote and *len
 * the length of the instruction, else code has its first bytes, *len of them.
 */
#define INSTRUCTION_MAX 15
bool localapic_decode (struct vcpu *v, u32 *value, uint *len,
		       u8 code[INSTRUCTION_MAX]);

void exits_count (struct vcpu *v); /* core/exits.c */
void exits_print (void);

/* core/uefi.c, or lab10: the guest sends INIT or SIPI */
void handle_ap_start (void);

/* lab9: the processors of the guest */
void localapic_enter (struct vcpu *v);
void localapic_wait_for_sipi (struct vcpu *v);
void localapic_write (struct vcpu *v, uint offset, u32 value);
bool localapic_icr (struct vcpu *sender, u32 low, u32 dest);
bool localapic_is_destination (struct vcpu *v, struct vcpu *sender, u32 low,
			       u32 dest);
void localapic_signal_init (struct vcpu *v);
void localapic_signal_sipi (struct vcpu *v, u8 vector);
void localapic_x2apic_icr (struct vcpu *v, u64 value);

/* lab8: the nested page tables, which all virtual CPUs share */
u64 np_init (void);
void np_map (u64 gpa, u64 hpa, u64 len, bool present, bool writable);
void np_hide_vmm (void);
void np_protect_apic (void);
void np_flush (struct vcpu *v);
#endif

#endif
