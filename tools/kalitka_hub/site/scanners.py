"""What the scanners of the site and of each reader send, as people declare it.

Names of `token_codes.PRESETS`. A reader without a declaration of its own has the site's. A
declaration changes neither tokens nor rules: it decides which codes are warned of. Functions that
write require a session from `changes.write_transaction`.
"""

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from kalitka_hub.site.readers import READERS, existing_reader
from kalitka_hub.site.token_codes import parse_scanners
from kalitka_hub.store import audit
from kalitka_hub.store.changes import change_stamp
from kalitka_hub.store.models import Reader, Site

_FIELD = "scanners"


def set_scanners(session: Session, reader: str | None, names: Iterable[str]) -> bool:
    """Declare what the scanners of a reader (None: of the site) send; return whether it changed.

    names: without any the declaration is withdrawn. Raises InvalidRequest for an unknown name,
    NotFound for an unknown reader.
    """
    change_stamp(session)
    given = parse_scanners(names)
    before = declared_scanners(session, reader)
    if before == given:
        return False
    text = ",".join(given) or None
    if reader is None:
        session.execute(update(Site).values(scanners=text))
        kind, name = "site", _FIELD
    else:
        existing_reader(session, reader).scanners = text
        session.flush()
        kind, name = READERS, reader
    audit.record(session, "change", kind, name, {_FIELD: list(before)}, {_FIELD: list(given)})
    return True


def declared_scanners(session: Session, reader: str | None) -> tuple[str, ...]:
    """Return what a reader (None: the site) declares by itself. Raises NotFound."""
    if reader is not None:
        return _names(existing_reader(session, reader).scanners)
    return _names(session.execute(select(Site.scanners)).scalar_one())


def scanners_of(session: Session, reader: Reader) -> tuple[str, ...]:
    """Return what the scanner of a reader sends: its own declaration, else the site's."""
    return _names(reader.scanners) or declared_scanners(session, None)


def scanners_of_all(session: Session) -> tuple[str, ...]:
    """Return what any scanner of the site sends; () unless that is declared for every reader."""
    own = set(session.scalars(select(Reader.scanners).distinct()))
    site = declared_scanners(session, None)
    if not site and (None in own or not own):
        return ()
    return parse_scanners([*site, *filter(None, own)])


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
