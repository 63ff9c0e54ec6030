"""Validated input types: names, notes and filters of lists, as pydantic types."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kalitka_hub.errors import InvalidRequest
from kalitka_hub.store.models import NAME_MAX, NOTE_MAX

# First characters of reader groups that the hub makes: of all readers, and of one reader.
_RESERVED = ("*", "=")
NAMES_MAX = 10_000  # names of groups or readers in one setting
_FIELD_MAX = 60  # characters shown of a field's name, which the client chose


def _checked_name(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable():
        raise InvalidRequest(
            "a name needs visible text, with neither line ends nor control characters"
        )
    return text


def _checked_note(text: str) -> str:
    if not text.replace("\n", "").replace("\t", "").isprintable():
        raise InvalidRequest("a note must have no control characters except line ends and tabs")
    return text


def _checked_search(text: str) -> str:
    # PostgreSQL rejects NUL, and SQLite truncates texts there in places.
    if "\0" in text:
        raise InvalidRequest("the text has a NUL character (U+0000): leave it out")
    return text


def _checked_group_name(text: str) -> str:
    if text.startswith(_RESERVED):
        raise InvalidRequest("the name of a group must not begin with * or =")
    return text


Name = Annotated[str, Field(max_length=NAME_MAX), AfterValidator(_checked_name)]
GroupName = Annotated[Name, AfterValidator(_checked_group_name)]
Names = Annotated[list[str], Field(max_length=NAMES_MAX)]
Note = Annotated[str, Field(max_length=NOTE_MAX), AfterValidator(_checked_note)]
# A text to search by, in a path or a query.
SearchText = Annotated[str, AfterValidator(_checked_search)]
NameFilter = Annotated[SearchText | None, Field(max_length=NAME_MAX)]
# An id or a time, within the range that both databases accept.
Number = Annotated[int, Field(ge=0, lt=1 << 62)]


class InputModel(BaseModel):
    """The base of input models: an unknown field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Filters(BaseModel):
    """The base of a list's filters, None by default; itself it has none."""


Setting = TypeVar("Setting", bound=InputModel)


def parse_input(kind: type[Setting], **fields: Any) -> Setting:
    """Validate fields as a setting of this kind and return it. Raises InvalidRequest."""
    try:
        return kind(**fields)
    except ValidationError as fault:
        raise InvalidRequest("; ".join(map(error_sentence, fault.errors()))) from fault


def error_sentence(error: Mapping[str, Any], skipped: int = 0) -> str:
    """Return pydantic's error as a sentence, which never quotes the invalid value itself.

    skipped: the number of leading parts of the error's location that are outside the setting.
    """
    field = ".".join(map(str, error["loc"][skipped:]))[:_FIELD_MAX]
    if error["type"] == "missing":
        return f"{field} is missing"
    if error["type"] == "extra_forbidden":
        return f"{field} is not known here: check how it is written"
    is_own = error["type"] == "value_error"
    text = str(error["ctx"]["error"]) if is_own else error["msg"]
    return f"{field}: {text[:1].lower()}{text[1:]}" if field else text
