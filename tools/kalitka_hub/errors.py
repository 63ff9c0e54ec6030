"""Errors in a request to the hub, from a person or a reader.

Each message is one sentence: what is wrong, then what to do. The command line prints it, the HTTP
APIs answer with it.
"""


class InvalidRequest(ValueError):
    """The request is invalid in itself: nothing was written."""


class NotFound(LookupError):
    """The request is well formed but names an object that is not in the database."""
