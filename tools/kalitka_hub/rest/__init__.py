"""The REST API, for programs and for the hub's own pages."""
