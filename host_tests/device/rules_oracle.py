"""What rules mean, said once more and in another way: the oracle of the rules' tests.

Written from the protocol's "Rules" alone: texts are taken apart by `split`, and a window is the
set of minutes that one finds by walking through it.
"""

from kalitka.access import decision, packing, rules
from kalitka.access.timezone import Zone

WEEK = 7 * 1440
RULE_MAX = 18  # bytes of a packed rule: kind, mask, varints of 3, 3, 5 and 5 bytes
MONDAY = 29_923_200  # 2026-11-23 00:00 UTC, in minutes since 1970


def reason_of(text):
    """Return why the text (str) is no rule, in the words of the reader, or None if it is one."""
    fields = text.split("_")
    count = {"1": 3, "3": 4, "7": 6, "9": 2}.get(fields[0])
    if count is None:
        return "unknown kind of rule"
    if len(fields) != count:
        return "wrong number of fields in rule"
    if fields[0] == "9":
        return None if fields[1] in ("0", "1") else "rule 9 is neither 9_0 nor 9_1"
    if fields[0] in "37":
        for field in fields[1:3]:
            fault = _fault_of_number(field)
            if fault:
                return fault
            if int(field) > 86400:
                return "day time beyond the day"
        if len(fields[3]) != 7 or fields[3].strip("01"):
            return "week mask is not seven digits 0 or 1"
    if fields[0] in "17":
        for field in fields[-2:]:
            fault = _fault_of_number(field)
            if fault:
                return fault
        if int(fields[-2]) > int(fields[-1]):
            return "from is after to"
    return None


def _fault_of_number(field):
    if not field or field.strip("0123456789"):
        return "bad number in rule"
    return "number of more than ten digits" if len(field) > 10 else None


def plain(text):
    """Return a good rule's text without leading zeros."""
    fields = text.split("_")
    mask_at = 3 if fields[0] in "37" else -1
    return "_".join(f if i == mask_at else str(int(f)) for i, f in enumerate(fields))


def check_text(text):
    """Check that the text (str) is taken exactly, or refused with its reason."""
    expected = reason_of(text)
    try:
        packed = packing.pack(text.encode())
    except rules.RuleError as e:
        assert str(e) == expected, (text, str(e), expected)
        return
    assert expected is None, (text, "was taken", expected)
    assert rules.text_of(packed) == plain(text).encode(), (text, rules.text_of(packed))
    assert len(packed) <= RULE_MAX, (text, len(packed))
    assert rules.end_of(packed, 0) == len(packed), text
    # The same in the midst of other bytes, as it stands in a rule set.
    around = b"\x81" + packed + b"\x81"
    assert rules.end_of(around, 1) == 1 + len(packed), text
    assert rules.text_of(around, 1) == plain(text).encode(), text


def _inserted(packed_rules):
    rule_set = b""
    for packed in packed_rules:
        rule_set = packing.insert(rule_set, packed)
    return rule_set


def check_rule_set(texts):
    """Check that a set of rules is joined and split without loss, in any order, each once."""
    packed = [packing.pack(text.encode()) for text in texts]
    joined = _inserted(packed)
    assert joined == _inserted(list(reversed(packed)) + packed)
    parts = packing.split(joined)
    assert len(parts) == len(set(parts)) and set(parts) == set(packed)
    assert parts == sorted(parts)
    words = {rules.text_of(part) for part in parts}
    assert words == {plain(text).encode() for text in texts}


def open_minutes(start, end, mask, unit_seconds):
    """Return a week (bytearray of minutes, from Monday 0:00) with 1 where the window is open.

    None: in this unit these are no day times.
    """
    unit = 60 if unit_seconds else 1
    if start > 1440 * unit or end > 1440 * unit:
        return None
    week = bytearray(WEEK)
    for day in range(7):
        if mask[day] == "0":
            continue
        # A moment is a unit of the day; the window has every moment between its bounds and
        # both of them, and a minute is open if it has a moment of the window.
        last = end if start <= end else end + 1440 * unit
        at = start - start % unit
        while at <= last:
            minute = at // unit
            # A day ends with minute 1439. Only who starts above the end goes into the next.
            if minute < 1440 or start > end:
                week[(day * 1440 + minute) % WEEK] = 1
            at += unit
    return week


def check_week(text, unit_seconds, step=1):
    """Check a rule 3 or 7 (str) at every minute of the week of MONDAY (or every `step`-th)."""
    fields = text.split("_")
    packed = packing.pack(text.encode())
    week = open_minutes(int(fields[1]), int(fields[2]), fields[3], unit_seconds)
    first, last = (int(fields[4]), int(fields[5])) if fields[0] == "7" else (0, 10**10)
    # The rule does not begin at the buffer's start when it is one of several.
    buf = b"\x09\x00" + packed + b"\xff"
    for at in range(0, WEEK, step):
        minute = MONDAY + at
        said = rules.evaluate(buf, 2, unit_seconds, minute, at % 1440, at // 1440)
        if week is None:
            expected = rules.UNREADABLE
        elif minute < first:
            expected = rules.NOT_YET
        elif minute > last:
            expected = rules.NO_LONGER
        else:
            expected = rules.PERMITTED if week[at] else rules.OUTSIDE_HOURS
        assert said == expected, (text, unit_seconds, at // 1440, at % 1440, said, expected)
    unset = rules.evaluate(buf, 2, unit_seconds, -1, -1, 0)
    assert unset == (rules.UNREADABLE if week is None else rules.CLOCK_NOT_SET), (text, unset)


def check_dates(first, last, minute):
    """Check a rule 1 of these bounds at this minute (-1: not set)."""
    packed = packing.pack(b"1_%d_%d" % (first, last))
    if minute < 0:
        expected = rules.CLOCK_NOT_SET
    elif minute < first:
        expected = rules.NOT_YET
    else:
        expected = rules.NO_LONGER if minute > last else rules.PERMITTED
    for unit_seconds in (False, True):
        for day_minute in (-1, 0, 1439):
            said = rules.evaluate(packed, 0, unit_seconds, minute, day_minute, 3)
            assert said == expected, (first, last, minute, said, expected)


def rule_set_of(texts):
    """Return the rule set (bytes) of these texts."""
    return _inserted([packing.pack(text.encode()) for text in texts])


def check_verdicts(texts, unit_seconds, zone_text, minute, runs):
    """Check what is decided on a set of rules at every minute from `minute` (since 1970 UTC) on.

    runs: (so many minutes, reason in words, when, the texts of those rules one of which is named).
    """
    rule_set = rule_set_of(texts)
    buf = b"\xff\xff\xff" + rule_set + b"\xff"
    end = 3 + len(rule_set)
    zone = Zone(zone_text)
    verdict = decision.Verdict()
    for length, words, when, named in runs:
        reason = decision.REASONS.index(words)
        offsets = []
        at = 3
        while at < end:
            if rules.text_of(buf, at).decode() in named:
                offsets.append(at)
            at = rules.end_of(buf, at)
        assert len(offsets) == len(set(named)), (texts, named)
        for _ in range(length):
            zone.update(minute)
            said = verdict.decide(buf, 3, end, unit_seconds, minute, zone.day_minute, zone.weekday)
            right = said == verdict.reason == reason and verdict.when == when
            if not right or verdict.rule not in offsets:
                told = (decision.REASONS[said], verdict.rule, verdict.when)
                raise AssertionError((texts, unit_seconds, zone_text, minute, told, words, when))
            minute += 1
