/* Selection sort over indices, a comparison of its own, a prefix test of its own. */

#include "initfunc.h"
#include "types.h"

static int
compare (const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (int)(unsigned char)*a - (int)(unsigned char)*b;
}

static bool
begins_with (const char *text, const char *prefix)
{
	for (; *prefix; prefix++, text++)
		if (*text != *prefix)
			return false;
	return true;
}

static void
swap (struct initfunc_data *a, struct initfunc_data *b)
{
	const char *text;
	void (*func) (void);

	text = a->filename, a->filename = b->filename, b->filename = text;
	text = a->id, a->id = b->id, b->id = text;
	func = a->func, a->func = b->func, b->func = func;
}

void
initfunc_init (void)
{
	long count = __initfunc_end - __initfunc_start;
	struct initfunc_data *r = __initfunc_start;

	for (long i = 0; i + 1 < count; i++) {
		long least = i;

		for (long j = i + 1; j < count; j++) {
			int order = compare (r[j].id, r[least].id);

			if (order < 0 || (order == 0 && compare (r[j].filename, r[least].filename) < 0))
				least = j;
		}
		if (least != i)
			swap (&r[i], &r[least]);
	}
}

void
call_initfunc (const char *id)
{
	for (uint i = 0; __initfunc_start + i != __initfunc_end; i++) {
		if (!begins_with (__initfunc_start[i].id, id))
			continue;
		__initfunc_start[i].func ();
	}
}
