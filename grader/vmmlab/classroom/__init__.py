"""A whole class: intake, batch grading, gradebook, learning platforms, similarity."""
