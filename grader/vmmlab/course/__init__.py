"""The course: course.yml, cohorts, the markup of solutions, submissions. Does not know QEMU."""
