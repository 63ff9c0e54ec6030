"""The tables of the exchange with Kormitel, as typed SQLAlchemy models.

Times are microseconds since 1970 UTC, as Kormitel dates its changes. The fields that Kormitel
gives a kind of object are JSON, beside the hub's own columns. Only `kormitel.service` writes
objects, and only `kormitel.canteen` the tokens and rules made from them.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from kalitka_hub.store.models import AUTOINCREMENT, NAME_MAX, RULE_MAX, WITHOUT_ROWID, Base, Id

KIND_MAX = 40
KEY_MAX = 100
URL_MAX = 500


class KormitelKitchen(Base):
    """Readers of a kitchen. kitchen: its name on badges; `*` stands for every other kitchen."""

    __tablename__ = "kormitel_kitchens"
    __table_args__ = (WITHOUT_ROWID,)

    kitchen: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class KormitelObject(Base):
    """A badge, an arrival or another object of the exchange. Its row outlives its deletion."""

    __tablename__ = "kormitel_objects"
    __table_args__ = (
        UniqueConstraint("kind", "key"),
        Index("kormitel_objects_changed", "kind", "changed"),
        AUTOINCREMENT,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # The name of the object's group in an answer: `badges`, `arrivals`...
    kind: Mapped[str] = mapped_column(String(KIND_MAX))
    # The object's id in the exchange, as text.
    key: Mapped[str] = mapped_column(String(KEY_MAX))
    fields: Mapped[dict[str, Any]] = mapped_column(JSON)
    # The last write of each field: `state.Write` in JSON, oldest first.
    writes: Mapped[list[Any]] = mapped_column(JSON)
    # When the object was first created; None if it was deleted before this hub knew it.
    created: Mapped[int | None] = mapped_column(BigInteger)
    # When the object was last created, and when it was deleted since: None while it exists.
    born: Mapped[int | None] = mapped_column(BigInteger)
    died: Mapped[int | None] = mapped_column(BigInteger)
    # Earlier lives as [born, died], oldest first; None for nearly all objects.
    lives: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    # When the object last changed as the exchange sends it, and the author of that change.
    changed: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[str] = mapped_column(String(NAME_MAX))
    # Why the object is withheld from the flat shape, where it would break the client; None: sent.
    held: Mapped[str | None] = mapped_column(Text)
    # Engagements only: the direction sent while the engagement was not withheld; None: none, or
    # the engagement was deleted.
    told_direction: Mapped[str | None] = mapped_column(String(KEY_MAX))
    # Directions only: when an engagement, as sent, last ceased to refer to this direction.
    dropped: Mapped[int | None] = mapped_column(BigInteger)
    # SHA-256 in hex of the last item received for this object without a date.
    taken: Mapped[str | None] = mapped_column(String(64))
    # Keys of the objects that this one refers to.
    badge: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    person: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    direction: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)
    # Badges that are not deleted only: the token code, and since when the badge has had it.
    code: Mapped[str | None] = mapped_column(String(255), index=True)
    code_since: Mapped[int | None] = mapped_column(BigInteger)
    # Badges and persons only: why fields are left out of the flat shape, by field; None: none.
    held_fields: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # When the object, or fields of it, last ceased to be withheld; None: never.
    released: Mapped[int | None] = mapped_column(BigInteger)


class KormitelSentDirection(Base):
    """A direction that an engagement had while it was not withheld; both by their keys."""

    __tablename__ = "kormitel_told_directions"
    __table_args__ = (WITHOUT_ROWID,)

    direction: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True)
    engagement: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True, index=True)


class KormitelOwed(Base):
    """An object that a client posted and may not take from its next answer; see `kormitel.owed`.

    sure: whether this hub has something in it that the client does not know. followed: when the
    answer that followed the back-sync was given, microseconds; None: not yet.
    """

    __tablename__ = "kormitel_owed"
    __table_args__ = (WITHOUT_ROWID,)

    user: Mapped[str] = mapped_column(String(NAME_MAX), primary_key=True)
    kind: Mapped[str] = mapped_column(String(KIND_MAX), primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_MAX), primary_key=True)
    sure: Mapped[bool]
    followed: Mapped[int | None] = mapped_column(BigInteger)


class KormitelToken(Base):
    """The token of a badge. made: the token exists only for the badge."""

    __tablename__ = "kormitel_tokens"

    token_id: Mapped[int] = mapped_column(
        ForeignKey("tokens.id"), primary_key=True, autoincrement=False
    )
    badge_id: Mapped[int] = mapped_column(ForeignKey("kormitel_objects.id"), index=True)
    made: Mapped[bool]


class KormitelRule(Base):
    """A rule text that a token has because of its badge, for a group of readers."""

    __tablename__ = "kormitel_rules"
    __table_args__ = (WITHOUT_ROWID,)

    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(
        ForeignKey("reader_groups.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    text: Mapped[str] = mapped_column(String(RULE_MAX), primary_key=True)


class KormitelQuarantined(Base):
    """A quarantined item: received but not applicable. state: open, applied or dismissed."""

    __tablename__ = "kormitel_set_aside"
    __table_args__ = (AUTOINCREMENT,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    by: Mapped[str] = mapped_column(String(NAME_MAX))
    kind: Mapped[str] = mapped_column(String(KIND_MAX))
    # The item as received; see `documents.Item.sent`.
    item: Mapped[Any] = mapped_column(JSON)
    reason: Mapped[str] = mapped_column(Text)
    # Of the item, in hex: the same item is quarantined once.
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    # The unknown object that the item waits for, as kind/key.
    waits: Mapped[str | None] = mapped_column(String(KIND_MAX + 1 + KEY_MAX), index=True)
    state: Mapped[str] = mapped_column(String(9), index=True)
    # When the item was applied or dismissed, and by whom.
    settled: Mapped[int | None] = mapped_column(BigInteger)
    settled_by: Mapped[str | None] = mapped_column(String(NAME_MAX))
    # The key of the item's object; None if the item has no valid id.
    key: Mapped[str | None] = mapped_column(String(KEY_MAX), index=True)


class KormitelExchange(Base):
    """A `sync` or `back-sync`: answered to a client, or requested by this hub from a peer."""

    __tablename__ = "kormitel_exchanges"
    __table_args__ = (Index("kormitel_exchanges_of_user", "user", "way", "at"), AUTOINCREMENT)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger)
    # The client's user name; for a request by this hub, the peer's URL.
    user: Mapped[str] = mapped_column(String(URL_MAX))
    # sync, back-sync: a client's request to this hub; pull, push: this hub's request to a peer.
    way: Mapped[str] = mapped_column(String(9))
    # grouped or flat; None if not known.
    shape: Mapped[str | None] = mapped_column(String(7))
    from_date: Mapped[int | None] = mapped_column(BigInteger)
    # Numbers of objects or items by outcome.
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    # The size of the body.
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    # Duration in microseconds.
    took: Mapped[int | None] = mapped_column(BigInteger)
    # The problem; None if there was none.
    error: Mapped[str | None] = mapped_column(Text)
    # Ids of objects left for the next answer: see `export`.
    left_out: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))


class KormitelPeer(Base):
    """A peer (an integrator or another hub) that this hub syncs with, and its progress there."""

    __tablename__ = "kormitel_peers"

    url: Mapped[str] = mapped_column(String(URL_MAX), primary_key=True)
    # The date to ask from at the next pull; None: everything.
    from_date: Mapped[int | None] = mapped_column(BigInteger)
    # The last write sent to the peer: its stamp and the id of its object.
    sent: Mapped[int] = mapped_column(BigInteger)
    sent_id: Mapped[int] = mapped_column(BigInteger)
