"""The sources and reasons of access log entries in words, for people."""

from kalitka.access import decision
from kalitka.journal import entries
from micropython import const

SOURCES = ("scanner", "exit button", "door contact", "alarm", "reader")
_DOOR = const(("forced", "held open"))
ALARMS = (
    "restarted by its watchdog",
    "codes are being guessed",
    "safe mode",
    "its time is provisional",
)


def reason_text(source: int, reason: int, count: int = 0) -> str:
    """Return the reason in words, "" for none; with a count, such as "unknown code, 12 times"."""
    if count:
        return "%s, %d times" % (reason_text(source, reason), count)
    words = ()
    if source == entries.SCANNER:
        words = decision.REASONS
    elif source == entries.DOOR:
        words = _DOOR
    elif source == entries.READER:
        words = ALARMS
    if reason < len(words):
        return words[reason]
    return "reason %d" % reason if reason else ""
