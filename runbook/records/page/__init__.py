"""A record as one page of HTML."""
