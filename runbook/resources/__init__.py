"""Resources: what a host or the Swarm has. Each observes itself and says what it needs.

A resource has a ``probe`` (a snippet of shell that reads, for `Live.gather`), a ``read`` that turns
the snippet's output into facts, and a ``plan`` that is pure: facts in, changes out.
"""
