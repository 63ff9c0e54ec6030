"""What the commands of every resource have in common: add, change, remove, show and list.

An option that is not given changes nothing; one that is given as '' takes away what was there.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, cast

from sqlalchemy.orm import Session

from kalitka_hub.cli.terminal import (
    open_for_changes,
    open_for_reading,
    open_or_create,
    print_fields,
    print_json,
    print_line,
    print_table,
)
from kalitka_hub.errors import NotFound
from kalitka_hub.site.inputs import parse_input
from kalitka_hub.site.resources import RESOURCES, Key, Resource

_PAGE = 500  # views in one query
# From what a field is to what it is to be; None leaves it as it is.
Edit = Callable[[Any], Any] | None
# What a table shows: its heads, and what is below them of a view.
Columns = Mapping[str, Callable[[Any], object]]


@dataclass(frozen=True)
class Commands:
    """What the commands of the resource of this name do, on the database at a path or URL.

    columns: of its list; more: what is shown of one beside them.
    """

    name: str
    columns: Columns
    more: Columns = field(default_factory=dict)

    @property
    def resource(self) -> Resource:
        """The resource."""
        return RESOURCES[self.name]

    def add(self, db: str, **fields: Any) -> None:
        """Add what has these fields, those that are not None."""
        with open_or_create(db) as session:
            key = self.add_in(session, **fields)
        self.print_added(key)

    def add_in(self, session: Session, **fields: Any) -> Any:
        """Add what has these fields, those that are not None; return its key."""
        given = {name: value for name, value in fields.items() if value is not None}
        return self.resource.add(session, parse_input(self.resource.setting, **given))

    def print_added(self, key: Key) -> None:
        """Say that something was added."""
        print_line(f"{self.resource.word} {key} added")

    def change(self, db: str, key: Key, **edits: Edit) -> None:
        """Change fields of what there is."""
        with open_for_changes(db) as session:
            fields = self.resource.find(session, key).model_dump(
                include=set(self.resource.setting.model_fields)
            )
            for name, edit in edits.items():
                if edit is not None:
                    fields[name] = edit(fields[name])
            setting = parse_input(self.resource.setting, **fields)
            changed = self.resource.change(session, key, setting)
        print_line(f"{self.resource.word} {key} {'changed' if changed else 'is so already'}")

    def remove(self, db: str, key: Key) -> None:
        """Remove it."""
        with open_for_changes(db) as session:
            self.resource.remove(session, key)
        print_line(f"{self.resource.word} {key} removed")

    def show(self, db: str, key: Key, as_json: bool) -> None:
        """Print one."""
        with open_for_reading(db) as session:
            view = self.resource.find(session, key)
        if as_json:
            print_json(view.model_dump(mode="json"))
        else:
            fields = {**self.columns, **self.more}
            print_fields((head, of(view)) for head, of in fields.items())

    def list(self, db: str, as_json: bool, **filters: Any) -> None:
        """Print all of them, or those that the filters leave."""
        with open_for_reading(db) as session:
            views = [*list_all(session, self.resource.list, self.resource.key, **filters)]
        print_views(views, self.columns, as_json)


def list_all(
    session: Session, list_some: Callable[..., list[Any]], key: str, **filters: Any
) -> Iterator[Any]:
    """Yield everything that a function lists in pages, behind the field `key` of the last one."""
    behind: dict[str, Any] = {}
    while found := list_some(session, limit=_PAGE, **behind, **filters):
        yield from found
        behind = {"after": getattr(found[-1], key)}


def print_views(views: list[Any], columns: Columns, as_json: bool) -> None:
    """Print views as a table, or as JSON with all their fields."""
    if as_json:
        print_json([view.model_dump(mode="json") for view in views])
    else:
        print_table(*columns, rows=([of(view) for of in columns.values()] for view in views))


def plain_columns(*names: str) -> Columns:
    """Return how a table shows the fields of these names: as they are, under their names."""
    return {name: attrgetter(name) for name in names}


def as_list(texts: list[str] | None) -> list[str] | None:
    """Return what an option was given, which may come several times: '' alone is an empty list."""
    return [] if texts == [""] else texts


def set_to(value: Any) -> Edit:
    """Return the edit that an option asks for: '' takes away what was there."""
    if value is None:
        return None
    return lambda _before: None if value == "" else value


def set_list(exactly: list[Any] | None) -> Edit:
    """Return the edit of a list that is to be exactly this."""
    return None if exactly is None else lambda _before: exactly


def edit_members(
    exactly: list[str] | None, added: list[str] | None, removed: list[str] | None
) -> Edit:
    """Return the edit of a list of names: to these ('' alone is none), and with and without these.

    It raises NotFound if what is to be removed is not in it.
    """
    if exactly is None and not added and not removed:
        return None

    def edited(before: Collection[str]) -> list[str]:
        kept = list(before if exactly is None else cast(list[str], as_list(exactly)))
        kept += [name for name in added or () if name not in kept]
        for name in removed or ():
            if name not in kept:
                raise NotFound(
                    f"{name!r} is not among them: {', '.join(kept) or 'there are none'}"
                )
            kept.remove(name)
        return kept

    return edited
