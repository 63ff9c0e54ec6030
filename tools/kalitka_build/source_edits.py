"""Replacements in a source's text, at the places that `ast` gives. Lines keep their numbers."""

from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """A piece of a source and what comes in its place.

    line and end_line count from 1, byte and end_byte from 0 in the line's UTF-8. old: what is
    expected to stand there, "" for whatever does.
    """

    line: int
    byte: int
    end_line: int
    end_byte: int
    new: str
    old: str = ""


def edit_node(node, new: str, old: str = "") -> Edit:
    """Return the replacement of a whole node of `ast`."""
    return Edit(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset, new, old)


def replaced(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with all replacements, which must not overlap.

    Raises ValueError if something else stands at a place than was expected.
    """
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for edit in sorted(edits, reverse=True):
        first, last = lines[edit.line - 1], lines[edit.end_line - 1]
        piece = b"".join(lines[edit.line - 1 : edit.end_line])
        end = len(piece) - len(last) + edit.end_byte
        if edit.old and piece[edit.byte : end] != edit.old.encode():
            raise ValueError(f"line {edit.line}: {piece!r} has no {edit.old!r} at {edit.byte}")
        # A piece of several lines leaves blank ones behind.
        rest = b"\n" * (edit.end_line - edit.line)
        tail = last[edit.end_byte :]
        lines[edit.line - 1] = first[: edit.byte] + edit.new.encode() + tail + rest
        lines[edit.line : edit.end_line] = [b""] * (edit.end_line - edit.line)
    return b"".join(lines).decode()
