"""The REST API for programs and for the hub's page."""
