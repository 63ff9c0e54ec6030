"""The database: its tables, and the one way in which it is read and written."""
