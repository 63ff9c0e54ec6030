"""What readers ask: the token-reader API, its sync answers and access log."""
