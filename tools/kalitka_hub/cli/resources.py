"""The commands and options shared by every resource: add, change, remove, show and list.

An option that is absent changes nothing; an option with the value '' clears the field.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Annotated, Any, cast

import typer
from sqlalchemy.orm import Session

from kalitka_hub.cli.terminal import (
    DEFAULT_DATABASE,
    AsJson,
    DatabasePath,
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
# Maps a field's old value to its new one; None leaves the field unchanged.
Edit = Callable[[Any], Any] | None
# The columns of a table: heading to a function that returns a view's cell.
Columns = Mapping[str, Callable[[Any], object]]


def group_option(help: str, name: str = "--group"):
    """Return an option for the name of a group."""
    return typer.Option(name, metavar="GROUP", help=help)


Label = Annotated[str | None, typer.Option("--name", help="Set a name for people to read.")]
Note = Annotated[str | None, typer.Option(help="Set a free-text note.")]
GroupName = Annotated[str, typer.Argument(metavar="NAME", help="The group's name.")]
Groups = Annotated[list[str] | None, group_option("Replace the groups; '' for none. Repeatable.")]
JoinedGroups = Annotated[
    list[str] | None, group_option("Add to this group. Repeatable.", "--add-group")
]
LeftGroups = Annotated[
    list[str] | None, group_option("Remove from this group. Repeatable.", "--remove-group")
]


@dataclass(frozen=True)
class Commands:
    """The commands of the resource `name`, on the database at a path or URL.

    columns: of `list` and `show`; more: further fields of `show`.
    """

    name: str
    columns: Columns
    more: Columns = field(default_factory=dict)

    @property
    def resource(self) -> Resource:
        """The resource that the commands act on."""
        return RESOURCES[self.name]

    def register(self, app: typer.Typer, argument: Any, **helps: str) -> None:
        """Add to `app` the commands among remove, show and list that `helps` has a text for.

        argument: the annotated type of an object's key.
        """

        def remove(key: argument, db: DatabasePath = DEFAULT_DATABASE) -> None:  # type: ignore
            self.remove(db, key)

        def show(
            key: argument,  # type: ignore
            db: DatabasePath = DEFAULT_DATABASE,
            as_json: AsJson = False,
        ) -> None:
            self.show(db, key, as_json)

        def list(db: DatabasePath = DEFAULT_DATABASE, as_json: AsJson = False) -> None:
            self.list(db, as_json)

        for command in (remove, show, list):
            if text := helps.get(command.__name__):
                app.command(help=text)(command)

    def add(self, db: str, **fields: Any) -> None:
        """Add an object with these fields, leaving out those that are None."""
        with open_or_create(db) as session:
            key = self.add_in(session, **fields)
        self.print_added(key)

    def add_in(self, session: Session, **fields: Any) -> Any:
        """Add an object with these fields, leaving out those that are None; return its key."""
        given = {name: value for name, value in fields.items() if value is not None}
        return self.resource.add(session, parse_input(self.resource.setting, **given))

    def print_added(self, key: Key) -> None:
        """Report the added object."""
        print_line(f"{self.resource.word} {key} added")

    def change(self, db: str, key: Key, **edits: Edit) -> None:
        """Change fields of an existing object."""
        with open_for_changes(db) as session:
            fields = self.resource.find(session, key).model_dump(
                include=set(self.resource.setting.model_fields)
            )
            for name, edit in edits.items():
                if edit is not None:
                    fields[name] = edit(fields[name])
            setting = parse_input(self.resource.setting, **fields)
            changed = self.resource.change(session, key, setting)
        print_line(f"{self.resource.word} {key} {'changed' if changed else 'unchanged'}")

    def remove(self, db: str, key: Key) -> None:
        """Remove an object."""
        with open_for_changes(db) as session:
            self.resource.remove(session, key)
        print_line(f"{self.resource.word} {key} removed")

    def show(self, db: str, key: Key, as_json: bool) -> None:
        """Print an object with all its columns."""
        with open_for_reading(db) as session:
            view = self.resource.find(session, key)
        if as_json:
            print_json(view.model_dump(mode="json"))
        else:
            fields = {**self.columns, **self.more}
            print_fields((head, of(view)) for head, of in fields.items())

    def list(self, db: str, as_json: bool, **filters: Any) -> None:
        """Print all objects, or those that pass the filters."""
        with open_for_reading(db) as session:
            views = [*list_all(session, self.resource.list, self.resource.key, **filters)]
        print_views(views, self.columns, as_json)


def list_all(
    session: Session, list_some: Callable[..., list[Any]], key: str, **filters: Any
) -> Iterator[Any]:
    """Yield all views of a paged listing; each page begins after the last view's `key`."""
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
    """Return columns that show these fields unaltered, under their own names."""
    return {name: attrgetter(name) for name in names}


def as_list(texts: list[str] | None) -> list[str] | None:
    """Return the values of a repeatable option; a single '' means an empty list."""
    return [] if texts == [""] else texts


def set_to(value: Any) -> Edit:
    """Return an edit that sets a field to `value`, or clears it if `value` is ''."""
    if value is None:
        return None
    return lambda _before: None if value == "" else value


def set_list(exactly: list[Any] | None) -> Edit:
    """Return an edit that replaces a list."""
    return None if exactly is None else lambda _before: exactly


def edit_members(
    exactly: list[str] | None, added: list[str] | None, removed: list[str] | None
) -> Edit:
    """Return an edit that replaces a list of names (a single '' empties it), adds and removes.

    The edit raises NotFound if a name to be removed is not in the list.
    """
    if exactly is None and not added and not removed:
        return None

    def edited(before: Collection[str]) -> list[str]:
        kept = list(before if exactly is None else cast(list[str], as_list(exactly)))
        kept += [name for name in added or () if name not in kept]
        for name in removed or ():
            if name not in kept:
                raise NotFound(
                    f"{name!r} is not in the list: it has {', '.join(kept) or 'no names'}"
                )
            kept.remove(name)
        return kept

    return edited
