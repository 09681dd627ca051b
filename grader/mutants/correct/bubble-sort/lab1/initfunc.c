/* A bubble sort, which compares each pair of neighbours as often as there are records. */

#include "initfunc.h"
#include "string.h"
#include "todo.h"

static bool
before (const struct initfunc_data *a, const struct initfunc_data *b)
{
	int order = strcmp (a->id, b->id);

	if (!order)
		order = strcmp (a->filename, b->filename);
	return order < 0;
}

/* Sort the records from __initfunc_start to __initfunc_end in place.  The order
 * is that of the ids and, where ids are equal, of the file names, both by
 * strcmp.  The result must not depend on the order in which the objects were
 * linked.  No record is lost, changed or doubled, and nothing else is written.
 * There may be any number of records, or none.  Two that are equal in both may
 * be in either order.
 *
 * On entry: the BSP only, on the boot stack, no lock held.  alloc does not work
 * yet. */
void
initfunc_init (void)
{
	int n = __initfunc_end - __initfunc_start, i, j;
	struct initfunc_data *a = __initfunc_start, tmp;

	for (i = 0; i < n; i++)
		for (j = 0; j + 1 < n; j++)
			if (before (&a[j + 1], &a[j])) {
				tmp = a[j];
				a[j] = a[j + 1];
				a[j + 1] = tmp;
			}
}

/* Call every function whose id *begins* with the given id, each exactly once,
 * in the order of the records.  "global" calls global0 to global9, and
 * "global2" also calls global20.
 *
 * On entry: any CPU; id is not empty.  For the groups "ap", "pcpu" and "paral"
 * several CPUs are here at the same time without a lock, so the records must
 * not be written.
 * The functions may call call_initfunc themselves; the outer call then goes on
 * where it was. */
void
call_initfunc (const char *id)
{
	const struct initfunc_data *p;
	size_t len = strlen (id);

	for (p = __initfunc_start; p < __initfunc_end; p++)
		if (!strncmp (p->id, id, len))
			p->func ();
}
