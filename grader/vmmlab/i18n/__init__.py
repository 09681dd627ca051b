"""Catalogs and the reader's language: turns a message into text."""
