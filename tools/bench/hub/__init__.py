"""The hub under load."""
