"""The server process: its application, its certificates, and how one sees that it is well."""
