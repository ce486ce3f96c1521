"""The archive of runs: signed statements, a chained ledger, and what reads and checks them.

A record is tamper-evident: an alteration is found, not prevented. How far that goes, and what needs
a witness outside the operator's reach, is said in ``README.txt`` of every archive.

Importing this package is cheap; each module brings its own libraries.
"""
