"""The tables of the exchange with Kormitel, as typed SQLAlchemy models.

Times here are microseconds since 1970 UTC, since Kormitel dates its changes so. What is in a kind
of objects besides the columns is JSON. `kormitel.service` alone writes objects, `kormitel.canteen`
what readers are told of them.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kalitka_hub.store.models import AUTOINCREMENT, NAME_MAX, RULE_MAX, WITHOUT_ROWID, Base, Id

KIND_MAX = 40
KEY_MAX = 100
URL_MAX = 500


class KormitelKitchen(Base):
    """Readers of a kitchen. kitchen: as badges name it; `*` is that of all others."""

    __tablename__ = "kormitel_kitchens"
    __table_args__ = (WITHOUT_ROWID,)

    kitchen: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class KormitelObject(Base):
    """A badge, an arrival or another thing that both sides know. It outlives its deletion."""

    __tablename__ = "kormitel_objects"
    __table_args__ = (
        UniqueConstraint("kind", "key"),
        Index("kormitel_objects_changed", "kind", "changed"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # The name of its group in an answer: `badges`, `arrivals`...
    kind: Mapped[str] = mapped_column(String(KIND_MAX))
    # Its id, as text.
    key: Mapped[str] = mapped_column(String(KEY_MAX))
    fields: Mapped[dict[str, Any]] = mapped_column(JSON)
    # Who wrote which field last, and when: `state.Write` in JSON, oldest first.
    writes: Mapped[list[Any]] = mapped_column(JSON)
    # When it first came to be; None of what was deleted before it was known.
    created: Mapped[int | None] = mapped_column(BigInteger)
    # When it last came to be, and when it was deleted since: None while it is there.
    born: Mapped[int | None] = mapped_column(BigInteger)
    died: Mapped[int | None] = mapped_column(BigInteger)
    # Its earlier lives as [born, died], oldest first; None of nearly all.
    lives: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    # When what is told of it last changed, and whose change that was.
    changed: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[str] = mapped_column(String(NAME_MAX))
    # Why the flat shape does not tell it: it would break the client. None: it is told.
    held: Mapped[str | None] = mapped_column(Text)
    # Of an engagement: the direction that it had when it was not held back; None: none, or it was
    # deleted.
    told_direction: Mapped[str | None] = mapped_column(String(KEY_MAX))
    # Of a direction: when an engagement last ceased to refer to it, as they are told.
    dropped: Mapped[int | None] = mapped_column(BigInteger)
    # SHA-256 in hex of what was last sent of it without a date.
    taken: Mapped[str | None] = mapped_column(String(64))
    # Keys of what it refers to.
    badge: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    person: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    direction: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    # Of a badge that is not deleted: its token code, and since when it has it.
    code: Mapped[str | None] = mapped_column(String(255), index=True)
    code_since: Mapped[int | None] = mapped_column(BigInteger)


class KormitelSentDirection(Base):
    """A direction that an engagement had, both by their keys, while it was not held back."""

    __tablename__ = "kormitel_told_directions"
    __table_args__ = (WITHOUT_ROWID,)

    direction: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True)
    engagement: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True, index=True)


class KormitelToken(Base):
    """A token that a badge is scanned as. made: it is there for the badge alone."""

    __tablename__ = "kormitel_tokens"

    token_id: Mapped[int] = mapped_column(
        ForeignKey("tokens.id"), primary_key=True, autoincrement=False
    )
    badge_id: Mapped[int] = mapped_column(ForeignKey("kormitel_objects.id"), index=True)
    made: Mapped[bool]


class KormitelRule(Base):
    """A rule text that a token has by its badge, for a group of readers."""

    __tablename__ = "kormitel_rules"
    __table_args__ = (WITHOUT_ROWID,)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    text: Mapped[str] = mapped_column(String(RULE_MAX), primary_key=True)


class KormitelQuarantined(Base):
    """An item that was sent and could not be applied. state: open, applied or dismissed."""

    __tablename__ = "kormitel_set_aside"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[str] = mapped_column(String(NAME_MAX))
    kind: Mapped[str] = mapped_column(String(KIND_MAX))
    # As `documents.Item.sent` has it.
    item: Mapped[Any] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)
    # Of the item, in hex: the same one is set aside once.
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    # What it waits for to be known, as kind/key.
    waits: Mapped[str | None] = mapped_column(String(KIND_MAX + 1 + KEY_MAX), index=True)
    state: Mapped[str] = mapped_column(String(9), index=True)
    # When it was applied or dismissed, and by whom.
    settled: Mapped[int | None] = mapped_column(BigInteger)
    settled_by: Mapped[str | None] = mapped_column(String(NAME_MAX))


class KormitelExchange(Base):
    """A `sync` or `back-sync` that was answered to a client, or that this hub asked for."""

    __tablename__ = "kormitel_exchanges"
    __table_args__ = (Index("kormitel_exchanges_of_user", "user", "way", "at"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    # The client's user; where this hub asked, the peer's URL.
    user: Mapped[str] = mapped_column(String(URL_MAX))
    # sync, back-sync: asked of this hub; pull, push: what this hub asked a peer.
    way: Mapped[str] = mapped_column(String(9))
    # grouped or flat; None where that is not known.
    shape: Mapped[str | None] = mapped_column(String(7))
    from_date: Mapped[int | None] = mapped_column(BigInteger)
    # Numbers of objects or items, by what became of them.
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    # Of the body.
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Microseconds that it took.
    took: Mapped[int | None] = mapped_column(BigInteger)
    # What went wrong; None: nothing.
    error: Mapped[str | None] = mapped_column(Text)
    # Ids of the objects that wait for the next answer: see `export`.
    left_out: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class KormitelPeer(Base):
    """An integrator, or another hub, that this hub asks, and how far it has come with it."""

    __tablename__ = "kormitel_peers"

    url: Mapped[str] = mapped_column(String(URL_MAX), primary_key=True)
    # What to ask for next; None: everything.
    from_date: Mapped[int | None] = mapped_column(BigInteger)
    # Up to which write, and there up to which object, it was sent what is written here.
    sent: Mapped[int] = mapped_column(BigInteger)
    sent_id: Mapped[int] = mapped_column(BigInteger)
