"""The Docker API and command line of a host, through the connection that is there."""
