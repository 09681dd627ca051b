"""The kill matrix: wrong solutions that checks must catch, right ones that they must not accuse.

A mutant is the reference with named parts replaced: a step's region, a C function, an assembly
label. So it does not rot when lines move, and when the part is gone that is an error and never a
kill. A variant is a right solution written in another way; it must earn all points. Nothing here
knows how a check works: mutants and variants go through the same grading as a student's files.

Files, below grader/mutants/ of the course::

    lab3.yml                  the mutants of lab 3
    correct/NAME/lab3/FILE    a variant; files that it does not have are the reference's
    correct/NAME/ARCHES       what it is right for, one architecture a line; x86_64 without it
"""

from vmmlab.author.mutants.apply import apply, replaced
from vmmlab.author.mutants.model import (
    DoesNotApply,
    Edit,
    Mutant,
    Variant,
    load,
    load_variants,
    mutants_dir,
)
from vmmlab.author.mutants.runner import (
    SEED,
    Result,
    VariantResult,
    judge,
    run_mutant,
    run_mutants,
    run_variant,
    run_variants,
    variant_files,
)
from vmmlab.author.mutants.tables import page_rows, table, variants_table, write_page

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
    "load",
    "load_variants",
    "mutants_dir",
    "page_rows",
    "replaced",
    "run_mutant",
    "run_mutants",
    "run_variant",
    "run_variants",
    "table",
    "variant_files",
    "variants_table",
    "write_page",
]
