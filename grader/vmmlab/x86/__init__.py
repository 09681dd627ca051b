"""The processor as its manuals describe it: calling conventions, decoding, encoding."""
