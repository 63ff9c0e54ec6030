"""A settings file as people write it: read strictly, and checked for what only people get wrong.

What is written for a reader is always made anew from the values, in UTF-8: MicroPython's `json`
takes other texts than CPython's, knows no byte order mark, and reads an escaped pair of
surrogates as two broken characters. A secret is never in a message.
"""

import json
from collections.abc import Iterable, Iterator
from typing import NoReturn

_DOTS = ".\u2026"  # a placeholder is made of these, or has an ellipsis in it
_ELLIPSES = ("...", "\u2026")
_FREE = ("wifi", "console_password")  # in these, chosen by people, an ellipsis may be meant


def read_values(data: bytes) -> dict[str, object]:
    """Return the settings in a file's bytes. Raises ValueError with what is wrong, and where.

    UTF-8, with or without a byte order mark, and UTF-16 are understood.
    """
    try:
        values = json.loads(
            data, object_pairs_hook=_without_twins, parse_constant=_refuse, parse_float=_finite
        )
        written(values)
    except json.JSONDecodeError as fault:
        raise ValueError(f"the file is not JSON: {fault}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8: save it as UTF-8") from None
    except UnicodeEncodeError:
        raise ValueError("the file has half a character: \\uD800 to \\uDFFF alone") from None
    except RecursionError:
        raise ValueError("the file is not JSON of a reader: too many brackets") from None
    if not isinstance(values, dict):
        raise ValueError("the file is not a JSON object")
    return values


def written(values: object) -> bytes:
    """Return the values as JSON that CPython and MicroPython read alike."""
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False).encode()


def text_faults(values: dict[str, object]) -> dict[str, str]:
    """Return {setting: what is wrong with its text}: placeholders, characters of the secret."""
    faults = {
        name: f"{name}: it has a placeholder: write the value in the place of the dots"
        for name, value in values.items()
        if any(_is_placeholder(text, name in _FREE) for text in _texts(value))
    }
    secret = values.get("server_token")
    if isinstance(secret, str) and any(not "!" <= char <= "~" for char in secret):
        faults.setdefault(
            "server_token",
            "server_token: it has a blank, a line end or a character that is not ASCII: "
            "copy the secret alone",
        )
    return faults


def one_each(wrong: dict[str, str], faults: list[str]) -> list[str]:
    """Return the messages of `wrong`, and those of `faults` about other settings."""
    return [*wrong.values(), *(fault for fault in faults if fault.split(":")[0] not in wrong)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _is_placeholder(text: str, free: bool) -> bool:
    bare = text.strip()
    if not bare.strip(_DOTS):
        return bool(bare)
    return not free and any(dots in text for dots in _ELLIPSES)


def _without_twins(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name}: it is given twice: remove one of them")
        values[name] = value
    return values


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number: write one in digits")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too large a number")
    return number
