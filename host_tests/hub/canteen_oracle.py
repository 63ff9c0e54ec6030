"""The rules that badges and arrivals give at a reader, worked out day by day from the document.

An oracle for the hub, of whose code it uses nothing. For a site without meals and paid arrivals,
whose one reader serves every kitchen. Source: kormitel.md, "From badges and arrivals to a reader's
rules"; a uuid opens without dashes and as it is printed, and nothing opens once a qr was cleared.
"""

from datetime import date, datetime
from zoneinfo import ZoneInfo

FED = ("FREE", "CHILD", None)
PRESENT = ("ARRIVED", "STARTED", "JOINED")


def expected_rules(badges, arrivals, zone):
    """Return the rule texts by code. badges, arrivals: the fields by id, with `deleted`."""
    expected = {}
    for key, badge in badges.items():
        if badge["deleted"] or badge.get("is_blocked") or badge.get("feed") not in FED:
            continue
        stays = [
            one for one in arrivals.values() if one.get("badge") == key and not one["deleted"]
        ]
        days = {day for one in stays if one.get("status") in PRESENT for day in _days(one)}
        firsts = sorted(day for day in days if day - 1 not in days)
        lasts = sorted(day for day in days if day + 1 not in days)
        texts = {
            f"1_{_seven(first, zone)}_{_seven(last + 1, zone) - 1}"
            for first, last in zip(firsts, lasts, strict=True)
        }
        if texts:
            qr = badge.get("qr")
            codes = [qr] if "qr" in badge else [key, key.replace("-", "")]
            expected |= dict.fromkeys(filter(None, codes), texts)
    return expected


def _days(stay):
    dates = stay.get("arrival_date"), stay.get("departure_date")
    if None in dates:
        return ()
    first, last = (date.fromisoformat(text).toordinal() for text in dates)
    return range(first, last + 1)


def _seven(day, zone):
    """Return the minute since 1970 UTC at which it is 07:00 on a day, an ordinal."""
    there = date.fromordinal(day)
    local = datetime(there.year, there.month, there.day, 7, tzinfo=ZoneInfo(zone))
    return int(local.timestamp()) // 60
