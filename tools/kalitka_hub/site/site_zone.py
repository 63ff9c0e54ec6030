"""The site's time zone, stored in the database so that every process compiles the same rules.

Holiday dates and the times of grants and schedules are in this zone. It is a POSIX TZ string, as
on the readers (see `zone`), and UTC until it is set.
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
    """Set the zone by IANA name or as a POSIX TZ string; return whether anything changed.

    After a change the caller recompiles all rules: `rule_compiler.recompute_all`. Requires a
    session from `write_transaction`. Raises InvalidRequest.
    """
    change_stamp(session)
    zone = check_zone(text)
    before = zone_of(session).text
    if zone == before:
        return False
    session.execute(update(Site).values(zone=zone))
    audit.record(session, "change", "site", "zone", {"zone": before}, {"zone": zone})
    return True
