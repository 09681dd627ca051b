/* Steps that nobody has written yet. */

#include "asm.h"
#include "printf.h"
#include "spinlock.h"
#include "string.h"
#include "todo.h"
#include "types.h"

static struct {
	const char *id, *file, *function, *what;
	bool said; /* guarded by todo_lock */
} todos[] = {
	{ "lab1.1", "lab1/vmm_main.c", "vmm_main",
	  "copy the multiboot information to mi and set uefi_booted", false },
	{ "lab1.2", "lab1/vmm_main.c", "vmm_main",
	  "sort the init functions, call the global ones, start all "
	  "processors",
	  false },
	{ "lab1.3", "lab1/initfunc.c", "initfunc_init",
	  "sort the records in place by (id, filename)", false },
	{ "lab1.4", "lab1/initfunc.c", "call_initfunc",
	  "call every function whose id begins with the given one, once, in "
	  "order",
	  false },
	{ "lab2.1", "lab2/stack.c", "start_all_processors",
	  "remember both functions and go on in bspinitproc1", false },
	{ "lab2.2", "lab2/stack.c", "bsp_continue",
	  "give the BSP a stack of its own and remember it", false },
	{ "lab2.3", "lab2/stack.c", "asm_wrrsp_and_jmp",
	  "switch the stack and jump", false },
	{ "lab3.1", "lab3/ap_start.c", "ap_start",
	  "map physical address 0, save 5 bytes, write the far jump", false },
	{ "lab3.2", "lab3/ap_start.c", "ap_start",
	  "copy the trampoline, set apinitprocs and apinitlock", false },
	{ "lab3.3", "lab3/ap_start.c", "ap_start_addr",
	  "send INIT to all other CPUs and wait", false },
	{ "lab3.4", "lab3/ap_start.c", "ap_start_addr",
	  "send at most three SIPIs, fewer if everyone has come", false },
	{ "lab3.5", "lab3/apinit.S", "cpuinit_start", TODO_WHAT_lab3_5, false },
	{ "lab3.6", "lab3/apinit.S", "cpuinit_start", TODO_WHAT_lab3_6, false },
	{ "lab3.7", "lab3/ap_start.c", "ap_start",
	  "wait for the APs, restore physical address 0, unmap, set "
	  "ap_started",
	  false },
	{ "lab4.1", "lab4/apinit_enter.S", "apinit_enter", TODO_WHAT_lab4_1,
	  false },
	{ "lab4.2", "lab4/handshake.c", "apinitproc0",
	  "allocate a stack for this AP and go there", false },
	{ "lab4.3", "lab4/handshake.c", "apinitproc1",
	  "unlock the boot stack, take a number, set up this CPU", false },
	{ "lab4.4", "lab4/handshake.c", "ap_wait",
	  "wait until all expected APs have left the boot stack", false },
	{ "lab4.5", "lab4/sync.c", "sync_all_processors",
	  "wait until every processor has come", false },
};

static spinlock_t todo_lock;

noinline void
vmm_todo (const char *id)
{
	uint i;

	spinlock_lock (&todo_lock);
	for (i = 0; i < NUM_OF (todos); i++) {
		if (strcmp (todos[i].id, id) || todos[i].said)
			continue;
		printf ("TODO(%s): %s. Write it in %s, function %s.\n", id,
			todos[i].what, todos[i].file, todos[i].function);
		todos[i].said = true;
	}
	spinlock_unlock (&todo_lock);
	asm_halt_forever ();
}
