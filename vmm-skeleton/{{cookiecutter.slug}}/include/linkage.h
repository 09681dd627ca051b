/* How functions are called. */
#ifndef LINKAGE_H
#define LINKAGE_H

/* For functions that assembly calls, or jumps to: their arguments are where
 * the psABI puts them.  i386 code is compiled with -mregparm=3, so there it
 * has to be said; x86-64 has one convention only. */
#ifdef __x86_64__
#define asmlinkage
#else
#define asmlinkage __attribute__ ((regparm (0)))
#endif

#define noreturn __attribute__ ((noreturn))
#define noinline	__attribute__ ((noinline))
#define always_inline inline __attribute__ ((always_inline))

#endif
