"""The body of every JSON error."""

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """What is wrong, and what to do."""

    error: str
