"""The site's time zone in the database: every process that makes rules of schedules has the same.

It is the zone in which dates of holidays and times of grants are meant, a POSIX TZ string as
readers have it; see `zone`. Until it is set it is UTC.
"""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from kalitka.access.timezone import Zone
from kalitka_hub.site.zone import check_zone
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import Site

UTC = "UTC0"


def zone_of(session: Session) -> Zone:
    """Return the zone of the site."""
    return Zone(session.execute(select(Site.zone)).scalar_one() or UTC)


def set_zone(session: Session, text: str) -> bool:
    """Set the zone, by its name or as a POSIX TZ string; return whether that is a change.

    After a change, recompile all rules: `rule_compiler.recompute_all`. The session comes from
    `changes.write_transaction`. Raises InvalidRequest.
    """
    change_stamp(session)
    zone = check_zone(text)
    before = zone_of(session).text
    if zone == before:
        return False
    session.execute(update(Site).values(zone=zone))
    audit.record(session, "change", "site", "zone", {"zone": before}, {"zone": zone})
    return True
