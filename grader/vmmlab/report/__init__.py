"""The report: one versioned model, thin renderers. Nothing here works out points."""

from vmmlab.report.model import (
    SCHEMA,
    Build,
    Case,
    CheckReport,
    Diagnostic,
    FirstStep,
    Report,
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
    "FirstStep",
    "Report",
    "exit_code",
    "read_json",
    "write_json",
]
