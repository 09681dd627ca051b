#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "multiboot.h"
#include "panic.h"
#include "spinlock.h"
#include "uefi.h"
/* with a BIOS: byte by byte, the word is lowered only when another KiB begins */
static u32 low;
static u32 bios(uint len){u16*w=mapmem_hphys(0x413,2,MAPMEM_WRITE);u32 end=(u32)*w<<10;
 if(low<end||low>end+1023)low=end;
 if(len>low||len>end)panic("low memory");
 low-=len;if(low<end)*w=low>>10;unmapmem(w,2);return low;}
static u64 box[2];
u32 alloc_realmodemem(uint len){
 if(uefi_booted){u64 s;box[1]=0x100000-1;
  s=uefi_call(uefi_boot.allocate_pages,1,10,(len+0xFFFULL)>>12,(ulong)(box+1)-VMM_BASE);
  if(s!=0)panic("status %llx",s);
  return box[1];}
 return bios(len);}
u32 align_apinit_addr(u32 a){u32 i;for(i=0;i<16;i++)if(!((a+i-APINIT_OFFSET)%16))return a+i;return 0;}
