"""From a request to outcomes and points."""
