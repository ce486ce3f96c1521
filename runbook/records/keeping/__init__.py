"""What is decided about records: approvals, and which may go."""
