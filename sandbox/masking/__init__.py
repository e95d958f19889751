"""Masking: a policy names every place, keyed pseudonyms replace what is personal. Pure."""
