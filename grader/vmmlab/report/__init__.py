"""From a grade to report.json, and its renderers. Computes no points."""

from vmmlab.report.model import (
    SCHEMA,
    Build,
    Case,
    CheckReport,
    Diagnostic,
    Report,
    StepPlace,
    exit_code,
    read_json,
    write_json,
)

__all__ = [
    "SCHEMA",
    "Build",
    "Case",
    "CheckReport",
    "Diagnostic",
    "Report",
    "StepPlace",
    "exit_code",
    "read_json",
    "write_json",
]
