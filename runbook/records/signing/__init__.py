"""Signatures in the format of OpenSSH, and whose keys they are."""
