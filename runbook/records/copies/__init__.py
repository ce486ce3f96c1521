"""Copies of an archive, handed over or in a bucket."""
