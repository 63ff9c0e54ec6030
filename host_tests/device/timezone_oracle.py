"""Checks of zones against what test_timezone.py found out by other means."""

from kalitka.access.timezone import Zone, ZoneError

WEEK = 10080


def check_local(text, minutes, expected):
    """Check a zone's local time at some minutes since 1970 UTC, in that order and backwards.

    expected: the local minutes of the week, from Monday 0:00.
    """
    zone = Zone(text)
    assert zone.text == text
    order = list(range(len(minutes)))
    for i in order + order[::-1]:
        minute = minutes[i]
        zone.update(minute)
        said = zone.weekday * 1440 + zone.day_minute
        assert said == expected[i], (text, minute, said, expected[i])
        # 1970-01-01 was a Thursday.
        assert (minute + zone.offset + 3 * 1440) % WEEK == said, (text, minute, zone.offset)


def check_text(text, fault):
    """Check that the text is refused with these words, or taken if they are None."""
    try:
        Zone(text)
    except ZoneError as e:
        assert str(e) == fault, (text, str(e), fault)
        return
    assert fault is None, (text, "was taken", fault)
