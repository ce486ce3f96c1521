"""A run on its way into the archive."""
