"""The token-reader API: authentication, sync answers, the access log and the time."""
