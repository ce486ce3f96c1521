"""What a connection is made of: configuration, keys, transports and sessions."""
