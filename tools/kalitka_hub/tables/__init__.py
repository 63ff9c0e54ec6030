"""The site as tables of CSV."""
