"""What can be wrong with what a person or a reader asks of the hub.

The message of each is one sentence that names what is wrong and says what to do; the command
line prints it, the HTTP side answers it.
"""


class InvalidRequest(ValueError):
    """The request is wrong as it stands: nothing was written."""


class NotFound(LookupError):
    """The request is well formed, but what it names is not in the database."""
