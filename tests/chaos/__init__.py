"""Cut a run at every boundary: before, within and after each thing that it sends to a host."""
