"""From a running machine to an Observation; does not judge what it records."""
