#include "ap.h"
#include "initfunc.h"
#include "multiboot.h"
static const struct { void (*sort)(void), (*call)(const char*); } todo = { initfunc_init, call_initfunc };
asmlinkage void vmm_main(struct multiboot_info*ebx){if((uefi_booted=(ebx==NULL))==false)mi=*ebx;todo.sort();todo.call("global");start_all_processors(&bsp_proc,&ap_proc);for(;;);}
