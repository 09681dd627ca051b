"""From a request to a grade: boots, checks run by pytest, outcomes, points. Knows no report."""
