"""From a running machine to an Observation."""
