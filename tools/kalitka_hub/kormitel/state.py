"""The state of one object, and how a change is merged into it. Pure.

Each field has its last write: the date, which orders changes; the time at which the write came to
this hub; and its author. If their dates differ, changes give the same state in whatever order they
come, and a repeated change has no effect.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from kalitka_hub.kormitel.documents import Item
from kalitka_hub.store.models import NAME_MAX

DELETED = "deleted"  # whether the object is deleted: dated as a field is


class Write(NamedTuple):
    """The last write of a field. date: of the change; at: of its arrival here; microseconds.

    by: the author. Do not reorder: stored as a list by `stored_writes`.
    """

    date: int
    at: int
    by: str


class Source(NamedTuple):
    """The origin of a change. at: the stamp that the change gets.

    own: made at this hub, and so newer than every change before it. unsent: only for the answer of
    a peer that this hub asks: the peer does not know yet what others wrote here at this time or
    later, so its answer does not override those writes; None: not such an answer.
    """

    by: str
    at: int
    own: bool = False
    unsent: int | None = None


@dataclass
class State:
    """An object; see models.KormitelObject. id: None until the object is stored.

    deleted: the object's deletion by its newest change, which `finalize` stamps.
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
    held_fields: dict[str, str] | None = None
    released: int | None = None
    told_direction: str | None = None
    dropped: int | None = None
    taken: str | None = None
    # By field, of the changes since loading: whether the sender knows the value; see `finalize`.
    known_to_sender: dict[str, bool] = field(default_factory=dict, compare=False)

    @property
    def is_recorded(self) -> bool:
        """Whether anything is known of the object, if only that it was deleted."""
        return bool(self.written)

    @property
    def alive(self) -> bool:
        """Whether the object exists and is not deleted."""
        return self.born is not None and self.died is None

    def copy(self) -> "State":
        """Return a copy, for `finalize`."""
        return replace(
            self, fields=dict(self.fields), written=dict(self.written), known_to_sender={}
        )

    def apply_change(self, item: Item, source: Source) -> bool:
        """Apply a change; return whether the change had an effect. Call `finalize` afterwards."""
        values = dict(item.fields)
        if item.deleted is not None:
            values[DELETED] = item.deleted
        elif not self.is_recorded:
            # The object comes to exist with this change: no older deletion undoes that.
            values[DELETED] = False
        # A date in the future is not believed: it would win over every change until then.
        date = source.at if item.date is None else min(item.date, source.at)
        by = source.by if item.actor is None else f"{source.by} (badge {item.actor})"
        write = Write(date, source.at, by[:NAME_MAX])
        # A sum, not `any`: every field must be written.
        return sum(self._write(name, value, write, source) for name, value in values.items()) > 0

    def finalize(self, before: "State", source: Source) -> bool:
        """Stamp the changes since `before`; return whether the object has to be sent again.

        It has to even if the only changes were older than the stored values and so had no effect:
        their sender does not know the newer value, or took its own for newer.
        """
        if not self.is_recorded:
            return False
        is_there = not self.deleted
        # Never back: see the rules in `export`.
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
                # Newer than a stored write even if that is dated ahead of the clock here.
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
                    # The same value, written later: a change dated in between must not win.
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
    """Return the writes of an object's fields in their stored form.

    Fields of the same write share an entry: [date, at, by, names]. In the order of `at`.
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
    """Tell whether two values are equal as JSON: true is not 1."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_unsent(prior: Write, source: Source) -> bool:
    return source.unsent is not None and prior.at >= source.unsent and prior.by != source.by
