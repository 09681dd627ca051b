"""From an Observation to the cause of a failure.

Pure functions. They look for the first thing that went wrong, because everything after it is a
consequence. They know neither the check that asks nor what it is worth.
"""
