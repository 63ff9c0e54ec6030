"""Export and import of the site's resources as CSV tables."""
