"""The kill matrix: wrong solutions that checks must catch, correct ones that they must not reject.

A mutant is the reference with named parts replaced: a step's region, a C function, an assembly
label. It therefore survives moved lines, and a part that no longer exists is an error, never a
kill. A variant is a right solution written in another way; it must earn all points. Nothing here
knows how a check works: mutants and variants are graded exactly as a student's files are.

Files below grader/mutants/ of the course::

    lab3.yml                  the mutants of lab 3
    correct/NAME/lab3/FILE    a variant; the files that it does not have are the reference's
    correct/NAME/ARCHES       the architectures that it is right for, one a line; else x86_64
"""

from vmmlab.author.mutants.apply import apply, replaced
from vmmlab.author.mutants.folders import write_folders
from vmmlab.author.mutants.model import (
    SEED,
    DoesNotApply,
    Edit,
    Mutant,
    load,
    mutants_dir,
    of_names,
)
from vmmlab.author.mutants.runner import Result, judge, run_mutant, run_mutants
from vmmlab.author.mutants.tables import line, page_rows, table, variants_table, write_page
from vmmlab.author.mutants.variants import (
    Variant,
    VariantResult,
    load_variants,
    run_variant,
    run_variants,
    variant_files,
)

__all__ = [
    "SEED",
    "DoesNotApply",
    "Edit",
    "Mutant",
    "Result",
    "Variant",
    "VariantResult",
    "apply",
    "judge",
    "line",
    "load",
    "load_variants",
    "mutants_dir",
    "of_names",
    "page_rows",
    "replaced",
    "run_mutant",
    "run_mutants",
    "run_variant",
    "run_variants",
    "table",
    "variant_files",
    "variants_table",
    "write_folders",
    "write_page",
]
