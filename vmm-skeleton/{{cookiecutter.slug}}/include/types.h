/* The basic types.  The VMM uses no header of the host. */
#ifndef TYPES_H
#define TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __SIZE_TYPE__ size_t;

#define bool  _Bool
#define true  1
#define false 0
#define NULL  ((void *)0)

#define offsetof(type, member) __builtin_offsetof (type, member)
#define NUM_OF(array)	       (sizeof (array) / sizeof (array)[0])

#endif
