/* What a guest has written to its local APIC: SVM tells the address, but not
 * the instruction, so fetch and decode it.  MOV of 32 bits is known: 89 /r, C7
 * /0 and A3 (APM volume 3, MOV), which are what compilers make of a store. */

#include "mm.h"
#include "string.h"
#include "svm.h"
#include "types.h"
#include "x86.h"

#define PAGE_ADDRESS 0x000FFFFFFFFFF000ULL /* in an entry */
#define EFER_LMA     0x00000400
#define ATTR_L	     0x200 /* vmcb_seg.attr: 64-bit code */
#define ATTR_D	     0x400 /* 32-bit code */
#define CR4_PSE	     0x00000010

#define OP_MOV_STORE	0x89
#define OP_MOV_OFFSET	0xA3
#define OP_MOV_CONSTANT 0xC7
#define REX_W		0x08
#define REX_R		0x04

/* Read guest-physical memory.  It is where host-physical memory is, except for
 * the VMM's, which is not the guest's to read. */
static bool
read_guest_physical (u64 physaddr, void *to, uint len)
{
	u64 start, end;
	void *from;

	mm_vmm_memory (&start, &end);
	if (physaddr < end && start < physaddr + len)
		return false;
	from = mapmem_hphys (physaddr, len, 0);
	memcpy (to, from, len);
	unmapmem (from, len);
	return true;
}

/* How a guest translates its addresses: APM 5.2 to 5.4. */
struct paging {
	uint shift;	 /* of the index into the highest table */
	uint index_bits; /* of that into each */
	uint entry_size;
	u64 root;
};

static struct paging
paging_of (const struct vmcb *c)
{
	struct paging p = { .index_bits = 9, .entry_size = 8 };

	p.root = c->cr3 & PAGE_ADDRESS;
	if (c->efer & EFER_LMA) {
		p.shift = c->cr4 & CR4_LA57 ? 48 : 39;
	} else if (c->cr4 & CR4_PAE) {
		p.shift = 30;
		p.root = c->cr3 & 0xFFFFFFE0;
	} else {
		p.shift = 22;
		p.index_bits = 10;
		p.entry_size = 4;
	}
	return p;
}

/* Whether an entry with this shift leads to a page, not to a table. */
static bool
is_page (const struct vmcb *c, u64 entry, uint shift)
{
	if (shift == 12)
		return true;
	if (!(entry & PDE_PS))
		return false;
	if (c->efer & EFER_LMA)
		return shift <= 30;
	return shift == 21 || (shift == 22 && c->cr4 & CR4_PSE);
}

static bool
translate (const struct vmcb *c, u64 linear, u64 *physaddr)
{
	struct paging p = paging_of (c);
	u64 entry = 0, table = p.root, mask;
	uint shift;

	if (!(c->cr0 & CR0_PG)) {
		*physaddr = linear;
		return true;
	}
	for (shift = p.shift;; shift -= p.index_bits) {
		mask = (1ULL << p.index_bits) - 1;
		if (!read_guest_physical (table + (linear >> shift & mask) *
							  p.entry_size,
					  &entry, p.entry_size))
			return false;
		if (!(entry & PTE_P))
			return false;
		if (is_page (c, entry, shift))
			break;
		table = entry & PAGE_ADDRESS;
	}
	mask = (1ULL << shift) - 1;
	*physaddr = (entry & PAGE_ADDRESS & ~mask) | (linear & mask);
	return true;
}

static bool
is_code64 (const struct vmcb *c)
{
	return c->efer & EFER_LMA && c->cs.attr & ATTR_L;
}

/* Fetch the instruction at CS:RIP; return how many of its bytes are there. */
static uint
fetch (const struct vmcb *c, u8 code[INSTRUCTION_MAX])
{
	u64 linear = c->rip, physaddr;
	uint len;

	if (!is_code64 (c))
		linear = (u32)(c->cs.base + c->rip);
	for (len = 0; len < INSTRUCTION_MAX; len++, linear++) {
		if (!translate (c, linear, &physaddr) ||
		    !read_guest_physical (physaddr, &code[len], 1))
			break;
	}
	return len;
}

static u64
general_register (const struct vcpu *v, uint number)
{
	const struct svm_vmrun_regs *r = &v->regs;
	const u64 values[] = {
		v->vmcb->rax, r->rcx, r->rdx, r->rbx, v->vmcb->rsp, r->rbp,
		r->rsi,	      r->rdi, r->r8,  r->r9,  r->r10,	    r->r11,
		r->r12,	      r->r13, r->r14, r->r15,
	};

	return values[number];
}

/* What the prefixes of an instruction say. */
struct prefixes {
	uint len;
	bool operand16, address16;
	u8 rex;
};

static struct prefixes
prefixes_of (const struct vmcb *c, const u8 *code, uint len)
{
	bool code64 = is_code64 (c);
	bool code16 = !code64 && !(c->cs.attr & ATTR_D);
	struct prefixes p = { 0, code16, code16, 0 };

	for (; p.len < len; p.len++) {
		switch (code[p.len]) {
		case 0x66:
			p.operand16 = !code16;
			break;
		case 0x67:
			p.address16 = !code64 && !code16;
			break;
		case 0x26: /* segments: the address is known */
		case 0x2E:
		case 0x36:
		case 0x3E:
		case 0x64:
		case 0x65:
			break;
		default:
			if (code64 && (code[p.len] & 0xF0) == 0x40)
				p.rex = code[p.len++];
			return p;
		}
	}
	return p;
}

/* Length of ModRM, SIB and displacement with addresses of 32 or 64 bits (APM
 * volume 3, 1.4); 0 if the operand is a register. */
static uint
modrm_len (const u8 *modrm)
{
	uint mod = modrm[0] >> 6, rm = modrm[0] & 7, len = 1;

	if (mod == 3)
		return 0;
	if (rm == 4) {
		len++;
		if (!mod && (modrm[1] & 7) == 5)
			len += 4;
	} else if (!mod && rm == 5) {
		len += 4;
	}
	return len + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

bool
localapic_decode (struct vcpu *v, u32 *value, uint *len,
		  u8 code[INSTRUCTION_MAX])
{
	const struct vmcb *c = v->vmcb;
	struct prefixes p;
	uint operand;
	u8 op;

	memset (code, 0, INSTRUCTION_MAX);
	*len = fetch (c, code);
	p = prefixes_of (c, code, *len);
	if (p.len + 2 > *len || p.operand16 || p.rex & REX_W)
		return false;
	op = code[p.len++];
	if (op == OP_MOV_OFFSET) {
		p.len += is_code64 (c) ? 8 : p.address16 ? 2 : 4;
		*value = c->rax;
	} else if (op == OP_MOV_STORE || op == OP_MOV_CONSTANT) {
		operand = modrm_len (&code[p.len]);
		if (!operand || p.address16)
			return false;
		if (op == OP_MOV_STORE) {
			*value = general_register (
				v, (code[p.len] >> 3 & 7) |
					   (p.rex & REX_R ? 8 : 0));
		} else {
			if (p.len + operand + 4 > INSTRUCTION_MAX)
				return false;
			memcpy (value, &code[p.len + operand], 4);
			operand += 4;
		}
		p.len += operand;
	} else {
		return false;
	}
	if (p.len > *len)
		return false;
	*len = p.len;
	return true;
}
