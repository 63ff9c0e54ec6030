"""The body of every JSON error."""

from pydantic import BaseModel


class ErrorBody(BaseModel):
    """An error. error: one sentence that says what is wrong and what to do."""

    error: str
