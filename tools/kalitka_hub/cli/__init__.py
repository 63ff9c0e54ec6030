"""The command line `kalitka hub`: one module per subject."""
