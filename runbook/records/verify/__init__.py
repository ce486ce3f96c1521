"""Whether an archive is as it was written, and what its witnesses have seen."""
