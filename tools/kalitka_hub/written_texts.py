"""Names and notes as people write them: what is taken, at the border, as pydantic types."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .faults import Refused
from .models import NAME_MAX, NOTE_MAX

# Of the names of reader groups: the group of all, and the group of one reader alone.
_RESERVED = ("*", "=")


def _checked_name(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable():
        raise Refused("a name has letters, and neither line ends nor control characters")
    return text


def _checked_note(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise Refused("a note has text and line ends, and no control characters")
    return text


def _checked_group_name(text: str) -> str:
    if text.startswith(_RESERVED):
        raise Refused("the name of a group begins with neither * nor =")
    return text


Name = Annotated[str, Field(max_length=NAME_MAX), AfterValidator(_checked_name)]
GroupName = Annotated[Name, AfterValidator(_checked_group_name)]
Note = Annotated[str, Field(max_length=NOTE_MAX), AfterValidator(_checked_note)]


class Written(BaseModel):
    """What a person or program writes: an unknown field is refused, not passed over."""

    model_config = ConfigDict(extra="forbid")
