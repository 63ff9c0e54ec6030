"""HTTP parts shared by every API of the hub."""
