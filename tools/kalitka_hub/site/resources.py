"""The resources of a site, each described once: REST, the command line and CSV build on them.

A description holds plain functions on sessions. Those that write require a session from
`changes.write_transaction` and record their changes in the audit. They raise
`errors.InvalidRequest` and `errors.NotFound`. Users, the access log and the audit are not
resources: they have rules, and modules, of their own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from kalitka_hub.site import (
    grants,
    people,
    reader_groups,
    reader_secrets,
    readers,
    schedules,
    tokens,
)
from kalitka_hub.site.inputs import Filters, InputModel
from kalitka_hub.store.bulk import BATCH

Key = int | str


class Bulk(NamedTuple):
    """The functions behind `Resource.find_many`, `write_many` and `remove_many`."""

    find: Callable[[Session, Any], dict[Any, Any]]
    write: Callable[[Session, Any], object]
    remove: Callable[[Session, Any], object]


class Creation(NamedTuple):
    """An addition with its own models, where an addition has more than a setting and a view.

    setting: the model that is written. view: the model that is read, once. add(session, setting)
    returns the view.
    """

    setting: type[InputModel]
    view: type[InputModel]
    add: Callable[[Session, Any], Any]


@dataclass(frozen=True)
class Resource:
    """The description of one resource.

    name: plural, as in REST paths, names of CSV files and the audit. word: singular, as in
    commands. key: the view's field that identifies an object: `id` (a number), `name` or `code`.
    setting: the model that is written, always whole. view: the model that is read.

    add(session, setting) returns the key; change(session, key, setting) whether anything changed.
    remove(session, key) and find(session, key) take a key. list(session, after, limit, **filters)
    returns views in key order: those after `after`, at most `limit`. filters: the model of these.

    bulk: the functions of a resource with many objects; without them it is written one by one.
    special_creation: how REST adds an object, if not by `setting`, `add` and `view`.

    problems(view, setting): names of fields and sentences on why a valid setting may not be
    written over a view, None for a new object; found by `add` and `change` too.
    """

    name: str
    word: str
    key: str
    setting: type[InputModel]
    view: type[InputModel]
    add: Callable[[Session, Any], Any]
    change: Callable[[Session, Any, Any], bool]
    remove: Callable[[Session, Any], object]
    find: Callable[[Session, Any], Any]
    list: Callable[..., list[Any]]
    filters: type[Filters] = Filters
    bulk: Bulk | None = None
    special_creation: Creation | None = None
    problems: Callable[[Any, Any], Iterable[tuple[str, str]]] = lambda *_: ()

    @property
    def creation(self) -> Creation:
        """How REST adds an object."""
        return self.special_creation or Creation(self.setting, self.view, self._add_and_find)

    def _add_and_find(self, session: Session, setting: Any) -> Any:
        return self.find(session, self.add(session, setting))

    @property
    def is_numbered(self) -> bool:
        """Whether the key is a number, assigned by the hub."""
        return self.view.model_fields[self.key].annotation is int

    def key_after(self, setting: InputModel, assigned: Key) -> Key:
        """Return an object's key after a write. assigned: its key so far; a name may change."""
        return getattr(setting, self.key, None) or assigned

    def pages(self, session: Session) -> Iterator[Sequence[Any]]:
        """Yield the views of all objects in key order, at most BATCH at a time."""
        found = self.list(session, limit=BATCH)
        while found:
            yield found
            found = self.list(session, getattr(found[-1], self.key), BATCH)

    def find_many(self, session: Session, keys: Collection[Any]) -> dict[Any, Any]:
        """Return the views of the objects with these keys, by key; unknown keys are left out."""
        if self.bulk:
            return self.bulk.find(session, keys)
        views = (view for page in self.pages(session) for view in page)
        return {key: view for view in views if (key := getattr(view, self.key)) in keys}

    def write_many(self, session: Session, settings: Iterable[tuple[Key | None, Any]]) -> None:
        """Change objects by their keys, and add those with the key None."""
        if self.bulk:
            self.bulk.write(session, settings)
            return
        for key, setting in settings:
            if key is None:
                self.add(session, setting)
            else:
                self.change(session, key, setting)

    def remove_many(self, session: Session, keys: Iterable[Key]) -> None:
        """Remove the objects with these keys."""
        if self.bulk:
            self.bulk.remove(session, keys)
            return
        for key in keys:
            self.remove(session, key)


def _by_name(add: Callable[[Session, Any], None]) -> Callable[[Session, Any], str]:
    def added(session: Session, setting: Any) -> str:
        add(session, setting)
        return setting.name

    return added


_ALL = (
    Resource(
        name=people.PEOPLE,
        word="person",
        key="id",
        setting=people.PersonSetting,
        view=people.PersonView,
        add=people.add_person,
        change=people.change_person,
        remove=people.remove_person,
        find=people.find_person,
        list=people.list_people,
        filters=people.PersonFilters,
    ),
    Resource(
        name=people.GROUPS,
        word="person-group",
        key="name",
        setting=people.PersonGroupSetting,
        view=people.PersonGroupSetting,
        add=_by_name(people.add_group),
        change=people.change_group,
        remove=people.remove_group,
        find=people.find_group,
        list=people.list_groups,
    ),
    Resource(
        name=tokens.TOKENS,
        word="token",
        key="code",
        setting=tokens.TokenRecord,
        view=tokens.TokenView,
        add=tokens.add_token,
        change=tokens.change_token,
        remove=tokens.remove_token,
        find=tokens.find_record,
        list=tokens.list_records,
        filters=tokens.TokenFilters,
        bulk=Bulk(
            tokens.find_records,
            lambda session, given: tokens.write_tokens(
                session, (tokens.change_from_record(record) for _, record in given)
            ),
            tokens.remove_tokens,
        ),
    ),
    Resource(
        name=schedules.SCHEDULES,
        word="schedule",
        key="name",
        setting=schedules.ScheduleSetting,
        view=schedules.ScheduleSetting,
        add=_by_name(schedules.add_schedule),
        change=schedules.change_schedule,
        remove=schedules.remove_schedule,
        find=schedules.find_schedule,
        list=schedules.list_schedules,
    ),
    Resource(
        name=schedules.HOLIDAYS,
        word="holiday",
        key="id",
        setting=schedules.HolidaySetting,
        view=schedules.HolidayView,
        add=schedules.add_holiday,
        change=schedules.change_holiday,
        remove=schedules.remove_holiday,
        find=schedules.find_holiday,
        list=schedules.list_holidays,
        filters=schedules.HolidayFilters,
    ),
    Resource(
        name=readers.READERS,
        word="reader",
        key="code",
        setting=readers.ReaderSetting,
        view=readers.ReaderView,
        add=readers.create_reader,
        change=readers.change_reader,
        remove=readers.remove_reader,
        find=readers.show_reader,
        list=readers.list_reader_views,
        filters=readers.ReaderFilters,
        special_creation=Creation(
            reader_secrets.ReaderAddition, reader_secrets.AddedReader, reader_secrets.add_reader
        ),
    ),
    Resource(
        name=reader_groups.GROUPS,
        word="reader-group",
        key="name",
        setting=reader_groups.ReaderGroupSetting,
        view=reader_groups.ReaderGroupSetting,
        add=_by_name(reader_groups.add_reader_group),
        change=reader_groups.change_reader_group,
        remove=reader_groups.remove_reader_group,
        find=reader_groups.find_reader_group,
        list=reader_groups.list_reader_groups,
    ),
    Resource(
        name=grants.GRANTS,
        word="grant",
        key="id",
        setting=grants.GrantSetting,
        view=grants.GrantView,
        add=grants.add_grant,
        change=grants.change_grant,
        remove=grants.remove_grant,
        find=grants.find_grant,
        list=grants.list_grants,
        filters=grants.GrantFilters,
    ),
)
RESOURCES = {resource.name: resource for resource in _ALL}
