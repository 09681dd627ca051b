/* How often each virtual CPU has exited from its guest, and why.  It is printed
 * when a guest asks for it: VMMCALL_EXITS. */

#include "ap.h"
#include "printf.h"
#include "svm.h"

/* The last kind counts all other exits. */
static const struct {
	u64 exitcode;
	const char *name;
} kinds[EXIT_KINDS - 1] = {
	{ VMEXIT_NPF, "APIC" }, /* nothing else of memory exits and lives */
	{ VMEXIT_MSR, "MSR" },	       { VMEXIT_CPUID, "CPUID" },
	{ VMEXIT_IOIO, "I/O" },	       { VMEXIT_NMI, "NMI" },
	{ VMEXIT_VMMCALL, "VMMCALL" },
};

void
exits_count (struct vcpu *v)
{
	uint kind = 0;

	while (kind < EXIT_KINDS - 1 &&
	       kinds[kind].exitcode != v->vmcb->exitcode)
		kind++;
	v->exits[kind]++;
}

/* The other CPUs go on counting meanwhile. */
void
exits_print (void)
{
	int cpu;
	uint kind;

	printf ("exits of   ");
	for (kind = 0; kind < EXIT_KINDS - 1; kind++)
		printf (" %8s", kinds[kind].name);
	printf ("    other\n");
	for (cpu = 0; cpu <= (int)num_of_processors; cpu++) {
		printf ("processor %d", cpu);
		for (kind = 0; kind < EXIT_KINDS; kind++)
			printf (" %8llu", vcpus[cpu]->exits[kind]);
		printf ("\n");
	}
}
