"""The state of one object, and how a change becomes part of it. Pure.

Of each field it is known when it was last written: its date, by which older changes are told from
newer ones; when that came to this hub; and from whom. In which order changes come makes no
difference to what they come to, if their dates differ, and what comes again changes nothing.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kalitka_hub.kormitel.documents import Item
from kalitka_hub.store.models import NAME_MAX

DELETED = "deleted"  # whether it is: dated beside the fields


class Write(NamedTuple):
    """When a field was last written: its date, and when that came here; microseconds. By whom."""

    date: int
    at: int
    by: str


class Source(NamedTuple):
    """Where a change comes from. at: the stamp that it gets.

    own: it is made at this hub, and so newer than all there is. unsent: of a peer that this hub
    asks: what was written here at or after this, by others than the peer, it does not know yet,
    and its answer does not undo that; None: of nobody whom this hub asks.
    """

    by: str
    at: int
    own: bool = False
    unsent: int | None = None


@dataclass
class State:
    """An object; see models.KormitelObject. id: None of one that is not stored yet.

    deleted: what the newest change says of its life, which `finalize` dates.
    """

    kind: str
    key: str
    id: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    written: dict[str, Write] = field(default_factory=dict)
    deleted: bool = False
    created: int | None = None
    born: int | None = None
    died: int | None = None
    lives: list[list[int]] | None = None
    changed: int = 0
    by: str = ""
    held: str | None = None
    told_direction: str | None = None
    dropped: int | None = None
    taken: str | None = None
    # Whether who sent changes of a field since it was loaded knows its value; see `finalize`.
    known_to_sender: dict[str, bool] = field(default_factory=dict, compare=False)

    @property
    def is_recorded(self) -> bool:
        """Whether anything is known of it, be it that it was deleted."""
        return bool(self.written)

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self.born is not None and self.died is None

    def copy(self) -> "State":
        """Return a copy, for `finalize`."""
        return replace(
            self, fields=dict(self.fields), written=dict(self.written), known_to_sender={}
        )

    def apply_change(self, item: Item, source: Source) -> bool:
        """Apply a change; return whether it made a difference. Call `finalize` afterwards."""
        values = dict(item.fields)
        if item.deleted is not None:
            values[DELETED] = item.deleted
        elif not self.is_recorded:
            # That it came to be: no older deletion undoes it.
            values[DELETED] = False
        date = source.at if item.date is None else min(item.date, source.at)
        by = source.by if item.actor is None else f"{source.by} (badge {item.actor})"
        write = Write(date, source.at, by[:NAME_MAX])
        # All of them, whichever makes the difference.
        return sum(self._write(name, value, write, source) for name, value in values.items()) > 0

    def finalize(self, before: "State", source: Source) -> bool:
        """Stamp the changes since `before`; return whether the object has to be sent again.

        It is, too, if nothing but an older change of a field came, which is not made: whoever sent
        that does not know the newer one, or took its own for newer.
        """
        if not self.is_recorded:
            return False
        is_there = not self.deleted
        stamp = max(source.at, before.changed)
        if is_there and not before.alive:
            if before.born is not None and before.died is not None:
                self.lives = [*(before.lives or ()), [before.born, before.died]]
            self.created = stamp if self.created is None else self.created
            self.born, self.died = stamp, None
        elif not is_there and (before.alive or not before.is_recorded):
            self.died = stamp
        elif same_json(self.fields, before.fields) and all(self.known_to_sender.values()):
            return False
        self.changed = stamp
        return True

    def _write(self, name: str, value: Any, write: Write, source: Source) -> bool:
        prior = self.written.get(name)
        if prior is not None:
            if source.own:
                write = write._replace(date=max(write.date, prior.date))
            is_same = same_json(self.deleted if name == DELETED else self.fields[name], value)
            if write.date < prior.date:
                self.known_to_sender.setdefault(name, is_same)
                return False
            if _is_unsent(prior, source):
                return False
            self.known_to_sender[name] = True
            if is_same:
                if source.unsent is None:
                    # An older change that comes later must not pass for a newer one.
                    self.written[name] = prior._replace(date=write.date)
                return False
        if name == DELETED:
            self.deleted = value
        else:
            self.fields[name] = value
        self.written[name] = write
        self.by = write.by
        return True


def stored_writes(state: State) -> list[list[Any]]:
    """Return when the fields of an object were written, as it is stored.

    Those that were written at once are one: [date, at, by, names]. In the order of `at`.
    """
    names: dict[Write, list[str]] = defaultdict(list)
    for name, write in state.written.items():
        names[write].append(name)
    return [[*write, sorted(names[write])] for write in sorted(names, key=lambda one: one[1::-1])]


def writes_by_field(writes: list[list[Any]]) -> dict[str, Write]:
    """Return the writes by field name: the inverse of `stored_writes`."""
    made = ((Write(date, at, by), names) for date, at, by, names in writes)
    return {name: write for write, names in made for name in names}


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two values are the same in JSON: true is not 1."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_unsent(prior: Write, source: Source) -> bool:
    return source.unsent is not None and prior.at >= source.unsent and prior.by != source.by
