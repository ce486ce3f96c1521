"""What is secret, and what is written in its place."""
