"""The database: its tables, and the only way to read and write them."""
