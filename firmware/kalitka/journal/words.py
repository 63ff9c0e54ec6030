"""The sources and reasons of access log entries in words, for people."""

from kalitka.access import decision
from kalitka.journal.entries import DOOR, SCANNER

SOURCES = ("scanner", "exit button", "door contact", "alarm")
_DOOR = ("forced", "held open")


def reason_text(source: int, reason: int) -> str:
    """Return the reason in words, "" for none."""
    words = ()
    if source == SCANNER:
        words = decision.REASONS
    elif source == DOOR:
        words = _DOOR
    if reason < len(words):
        return words[reason]
    return "reason %d" % reason if reason else ""
