"""The canteen's settings: the readers of each kitchen, the meals, and the pause.

The readers' rules are recompiled at once. Sessions that change settings come from
`changes.write_transaction`.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.kormitel import canteen
from kalitka_hub.kormitel.badge_rules import Meal
from kalitka_hub.kormitel.canteen import OTHER_KITCHENS
from kalitka_hub.site.inputs import InputModel, Name, Names
from kalitka_hub.site.local_time import check_hours, clock_text, minute_of_day
from kalitka_hub.site.readers import ALL_READERS, groups_by_label, label_of
from kalitka_hub.site.schedules import StartOfDay, TimeOfDay
from kalitka_hub.site.tokens import no_reader_message
from kalitka_hub.store import audit
from kalitka_hub.store.bulk import insert_rows
from kalitka_hub.store.changes import change_context
from kalitka_hub.store.kormitel_models import KEY_MAX, KormitelKitchen
from kalitka_hub.store.models import EVERY_READER, ReaderGroup, Site

KORMITEL = "kormitel"  # the kind in the audit log
KITCHENS_MAX = 1000
MEALS_MAX = 24  # a reader's memory for one code has room for their rules


def _checked_readers(readers: list[str]) -> list[str]:
    if not readers:
        raise InvalidRequest(
            f"a kitchen needs at least one reader: name one, or leave the kitchen out, to use the "
            f"readers of {OTHER_KITCHENS}"
        )
    return sorted(set(readers))


Kitchen = Annotated[Name, Field(max_length=KEY_MAX)]
Readers = Annotated[Names, AfterValidator(_checked_readers)]


class MealSetting(InputModel):
    """The hours of a meal on every day, local time, both inclusive: `08:00`.

    start above end runs over midnight. night: the meal is not for feed PAID.
    """

    name: Name
    start: StartOfDay
    end: TimeOfDay
    night: bool = False


class CanteenSetting(InputModel):
    """The readers of the kitchens, and the meals.

    kitchens: by kitchen, as badges name it, the codes of its readers and names of reader groups.
    `*` as a reader means all readers; `*` as a kitchen means every kitchen that is not listed, and
    badges without a kitchen. A badge whose kitchen has no readers opens nothing. meals: without
    meals the canteen feeds all day.
    """

    kitchens: Annotated[
        dict[Kitchen, Readers], Field(default_factory=dict, max_length=KITCHENS_MAX)
    ]
    meals: Annotated[list[MealSetting], Field(default_factory=list, max_length=MEALS_MAX)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [meal.name for meal in self.meals]
        for name in names:
            if names.count(name) > 1:
                raise InvalidRequest(f"there are two meals {name!r}: give each its own name")
        return self


def find_settings(session: Session) -> CanteenSetting:
    """Return the current settings."""
    kitchens: dict[str, list[str]] = {}
    for kitchen, kind, name in session.execute(
        select(KormitelKitchen.kitchen, ReaderGroup.kind, ReaderGroup.name)
        .join(ReaderGroup, ReaderGroup.id == KormitelKitchen.group_id)
        .order_by(KormitelKitchen.kitchen)
    ):
        label = label_of(kind, name)
        kitchens.setdefault(kitchen, []).append(label)
    meals = [
        MealSetting.model_construct(
            name=meal.name,
            start=clock_text(meal.start),
            end=clock_text(meal.end),
            night=meal.night,
        )
        for meal in canteen.meals_of(session)
    ]
    return CanteenSetting.model_construct(
        kitchens={kitchen: sorted(labels) for kitchen, labels in kitchens.items()}, meals=meals
    )


def change_settings(session: Session, setting: CanteenSetting) -> bool:
    """Replace the settings; return whether that is a change.

    Raises NotFound for an unknown reader or group of readers, InvalidRequest for new hours that
    can mean two things (`local_time.check_hours`).
    """
    change_context(session)
    present = find_settings(session)
    before, after = present.model_dump(), setting.model_dump()
    known = {(meal.start, meal.end) for meal in present.meals}
    for meal in setting.meals:
        if (meal.start, meal.end) not in known:
            check_hours(meal.start, meal.end)
    groups = groups_by_label(session) | {ALL_READERS: EVERY_READER}
    for label in (label for readers in setting.kitchens.values() for label in readers):
        if label not in groups:
            raise NotFound(no_reader_message(label))
    if before == after:
        return False
    session.execute(delete(KormitelKitchen))
    rows = [
        {"kitchen": kitchen, "group_id": groups[label]}
        for kitchen, readers in setting.kitchens.items()
        for label in readers
    ]
    insert_rows(session, KormitelKitchen, rows)
    meals = [_meal_of(meal)._asdict() for meal in setting.meals]
    session.execute(update(Site).values(kormitel_meals=meals or None))
    audit.record(session, "change", KORMITEL, "canteen", before, after)
    canteen.recompute_all(session)
    return True


def paused_since(session: Session) -> int | None:
    """Return since when the exchange is paused, microseconds since 1970 UTC; None: not paused."""
    return session.execute(select(Site.kormitel_paused)).scalar_one()


def set_paused(session: Session, paused: bool) -> bool:
    """Pause or resume the exchange; return whether that is a change."""
    now = change_context(session).micros
    if (paused_since(session) is not None) is paused:
        return False
    session.execute(update(Site).values(kormitel_paused=now if paused else None))
    audit.record(session, "pause" if paused else "resume", KORMITEL, "exchange", None, None)
    return True


def _meal_of(meal: MealSetting) -> Meal:
    return Meal(meal.name, minute_of_day(meal.start), minute_of_day(meal.end), meal.night)
