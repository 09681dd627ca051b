"""Turns a running machine into an Observation. Does not judge what it records."""
