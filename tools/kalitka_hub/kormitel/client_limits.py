"""What today's client cannot save of a field: the limits of `fields.FIELDS`, in words. Pure.

One object that the client cannot save undoes the whole answer, and every later answer until the
client is restarted. So an operator may not write such a value (`operator_models`), and a value
that is stored already is not sent (`wire`, which also looks at ids and references). Source:
kormitel.md, "What breaks the client, so what we never emit" and "Poison".
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kalitka_hub.kormitel.fields import FIELDS, ObjectField, is_date


class ClientProblem(NamedTuple):
    """Why the client cannot save a field, without the field's name, and what to write instead."""

    wrong: str
    remedy: str


def problems_of(kind: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, ClientProblem]]:
    """Yield the fields with values that the client cannot save, each with its first problem.

    Only sent fields of a known kind count, and null never does: see `ObjectField.never_null`.
    """
    for field in FIELDS.get(kind, {}).values():
        value = fields.get(field.name)
        if field.sent and value is not None:
            for problem in _problems(field, value):
                yield field.name, problem
                break


def _problems(field: ObjectField, value: Any) -> Iterator[ClientProblem]:
    text = str(value)
    shown = repr(text[:40])
    if field.allowed and value not in field.allowed:
        known = ", ".join(field.allowed)
        yield ClientProblem(f"is {shown}, and the client knows {known}", "write one of those")
    if field.longest is not None and len(text) > field.longest:
        yield ClientProblem(
            f"has {len(text)} characters, and the client takes {field.longest}", "shorten it"
        )
    if field.not_blank and not text.strip():
        yield ClientProblem("is blank, and the client takes no blank one", "write a text")
    if field.largest is not None and not _is_number(text, field.largest):
        yield ClientProblem(
            f"is {shown}, and the client takes only a number up to {field.largest}",
            "write such a number",
        )
    if field.type == "date" and not is_date(text):
        yield ClientProblem("is not a valid date", "write it like 2026-11-21")


def _is_number(text: str, largest: int) -> bool:
    if not (text.isascii() and text.isdigit()):
        return False
    digits = text.lstrip("0") or "0"
    return len(digits) <= len(str(largest)) and int(digits) <= largest
