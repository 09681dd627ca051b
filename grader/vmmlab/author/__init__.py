"""The commands of a lab author: new labs, releases, mutants."""
