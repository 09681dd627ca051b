"""What a student runs: build, run, debug, ISO image, doctor, and the pytest plugin."""
