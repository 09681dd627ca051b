/* Values that differ between runs of the course.  Written by vmmlab; grading
 * uses its own copy.  Use the names, never the numbers. */
#ifndef COHORT_H
#define COHORT_H

#define VMM_COHORT    "{{ cookiecutter.cohort }}"
#define APINIT_ADDR   {{ cookiecutter.apinit_addr }}
#define APINIT_OFFSET {{ cookiecutter.apinit_offset }}
#define VMM_STACKSIZE {{ cookiecutter.stack_size }}
#define PCPU_PAD      {{ cookiecutter.pcpu_pad }}

#endif
