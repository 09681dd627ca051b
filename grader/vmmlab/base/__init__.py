"""What everything stands on: errors, files, text. Knows nothing of labs."""
