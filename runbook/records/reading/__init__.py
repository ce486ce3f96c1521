"""What is found, compared and reported of records."""
