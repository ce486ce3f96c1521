"""The journal of a run, and the results that it amounts to."""
