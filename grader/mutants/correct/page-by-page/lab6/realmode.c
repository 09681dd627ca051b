#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "multiboot.h"
#include "panic.h"
#include "uefi.h"
/* asks for one place after the other, from the top down */
static volatile u64 wanted;
static u32 from_uefi(uint len){u64 n=(len>>12)+!!(len&4095),at;
 for(at=0x100000-n*PAGESIZE;at>=0x1000;at-=PAGESIZE){wanted=at;
  if(!uefi_call(uefi_boot.allocate_pages,2,0,n,(ulong)&wanted-VMM_BASE))return(u32)wanted;}
 panic("nothing below 1 MiB");}
static u32 from_bios(uint len){volatile u16*w=mapmem(MAPMEM_HPHYS|MAPMEM_WRITE,0x413,2);u32 k=len/1024+(len%1024!=0),now=*w;
 if(now<k)panic("%u KiB of %u",k,now);
 *w=(u16)(now-k);unmapmem((void*)w,2);return(now-k)<<10;}
u32 alloc_realmodemem(uint len){if(!uefi_booted)return from_bios(len);return from_uefi(len);}
u32 align_apinit_addr(u32 addr){return addr+((APINIT_OFFSET-addr)&15);}
