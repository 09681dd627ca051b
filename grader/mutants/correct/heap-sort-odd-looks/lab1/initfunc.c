#include "initfunc.h"
#include "string.h"
#include "types.h"
#define R struct initfunc_data
#define N ((unsigned long)(__initfunc_end-__initfunc_start))
/* heap sort, upside down */
static int lt(R*a,R*b){int c=strcmp(a->id,b->id);return c<0||(!c&&strcmp(a->filename,b->filename)<0);}
static void xchg(R*a,R*b){R t=*a;*a=*b;*b=t;}
static void sift(unsigned long i,unsigned long n){R*r=__initfunc_start;for(;;){unsigned long m=i,c=2*i+1;
  if(c<n&&lt(r+m,r+c))m=c;  if(c+1<n&&lt(r+m,r+c+1))m=c+1;
  if(m==i)return;  xchg(r+i,r+m);  i=m;}}
void initfunc_init(void){unsigned long n=N,i;
   for(i=n/2;i-->0;)sift(i,n);
   while(n>1){xchg(__initfunc_start,__initfunc_start+--n);sift(0,n);}}
static void walk(const char*id,R*p){   /* recursion instead of a loop: tail calls */
   if(p==__initfunc_end)return;
   if(strlen(p->id)>=strlen(id)&&memcmp(p->id,id,strlen(id))==0)p->func();
   walk(id,p+1);}
void call_initfunc(const char*id){walk(id,__initfunc_start);}
