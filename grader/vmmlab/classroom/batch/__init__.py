"""Grades a whole class on dask.distributed: `vmmlab batch`.

One direction: submissions -> jobs -> workers -> one child process a job -> results -> files and
a summary. A worker never writes to the folder of the batch, and runs no submission itself.
"""
