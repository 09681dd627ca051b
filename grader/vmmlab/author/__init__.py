"""What a lab author runs: new labs, check-course, releases, mutants."""
