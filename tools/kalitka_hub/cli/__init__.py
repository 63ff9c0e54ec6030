"""`kalitka hub`: the command line."""
