/* Static variables: one only counts, one is used under a lock that is held for
 * a comparison. */

#include "initfunc.h"
#include "string.h"
#include "spinlock.h"

static bool
before (const struct initfunc_data *a, const struct initfunc_data *b)
{
	int order = strcmp (a->id, b->id);

	if (!order)
		order = strcmp (a->filename, b->filename);
	return order < 0;
}

void
initfunc_init (void)
{
	struct initfunc_data *p, *q, tmp;

	for (p = __initfunc_start; p < __initfunc_end; p++) {
		tmp = *p;
		for (q = p; q > __initfunc_start && before (&tmp, q - 1); q--)
			*q = *(q - 1);
		*q = tmp;
	}
}

static u32 calls; /* only counts */
static spinlock_t guard;
static volatile size_t len;

static bool
begins (const char *s, const char *prefix)
{
	bool found;

	spinlock_lock (&guard);
	len = strlen (prefix);
	found = !strncmp (s, prefix, len);
	spinlock_unlock (&guard);
	return found;
}

void
call_initfunc (const char *id)
{
	const struct initfunc_data *p;

	calls++;
	for (p = __initfunc_start; p < __initfunc_end; p++)
		if (begins (p->id, id))
			p->func ();
}
