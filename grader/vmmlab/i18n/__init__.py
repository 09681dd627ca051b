"""What is shown, in the reader's language."""
