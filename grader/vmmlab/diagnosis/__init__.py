"""From an Observation to the cause of a failure."""
