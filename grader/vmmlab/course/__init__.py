"""The course: course.yml, cohorts, the markup of solutions, submissions. Knows no QEMU."""
