"""vmmlab: a lab kit for the SMP bring-up of a VMM, graded from outside the machine."""

__version__ = "0.1.0"
