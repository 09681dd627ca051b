"""The processor as its manuals describe it: registers, calling conventions, decoding, encoding."""
