"""A change of the site's time zone, with all that depends on it, and what it moves in words."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from kalitka_hub.kormitel import canteen
from kalitka_hub.site.site_zone import set_zone
from kalitka_hub.site.zone_preview import Moved, describe_change, state_of


class ZoneChange(NamedTuple):
    """A change of the zone. words: the zone from now on, as people read it.

    changes: whether anything is stored anew. is_move: whether another zone was set before. moves:
    names and values for the person who decides; empty if local times stay as they are.
    """

    words: str
    changes: bool
    is_move: bool
    moves: list[tuple[str, Moved]]


def change_zone(session: Session, zone: str, now: int) -> ZoneChange:
    """Set the zone, and recompute all rules. now: a minute since 1970 UTC.

    Roll the session back to only look at it. Requires a session from `write_transaction`. Raises
    InvalidRequest for an invalid zone.
    """
    before = state_of(session, now)
    changes = set_zone(session, zone)
    tokens = canteen.recompute_site(session) if changes else 0
    after = state_of(session, now)
    # A name for the same zone moves nothing, and a first zone was asked for.
    is_move = before.zone.posix not in (None, after.zone.posix)
    is_shown = is_move or (before.zone.posix is None and changes and bool(after.counts))
    moves = [*describe_change(before, after, tokens, now)] if is_shown else []
    return ZoneChange(after.zone.in_words(now), changes, is_move, moves)
