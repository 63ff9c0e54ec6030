"""The state of an object after changes, in whatever order and however often they come."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from kalitka_hub.kormitel.documents import Item
from kalitka_hub.kormitel.state import Source, State, same_json, stored_writes, writes_by_field

NOW = 1_000_000


def change(date, deleted=None, **fields):
    return Item("badges", "B", fields, deleted, date)


def state_of(changes, *, at=NOW, step=1):
    """Return the state after changes that came one by one."""
    state = State("badges", "B")
    for item in changes:
        at += step
        before = state.copy()
        state.apply_change(item, Source("kormitel", at))
        state.finalize(before, Source("kormitel", at))
    return state


dates = st.integers(1, 50)
names = st.sampled_from(["feed", "qr", "name"])
changes = st.lists(
    st.tuples(dates, st.none() | st.booleans(), st.dictionaries(names, st.integers(0, 9))),
    max_size=5,
    unique_by=lambda one: one[0],
)


@given(changes)
@settings(max_examples=80)
def test_the_order_in_which_changes_come_makes_no_difference(drawn):
    items = [change(date, deleted, **fields) for date, deleted, fields in drawn]
    ends = [state_of(order) for order in permutations(items)]
    assert all(end.fields == ends[0].fields for end in ends)
    if all(deleted is not None for _, deleted, _ in drawn):
        # If no change says `deleted`, the first change to come brings the object to life.
        assert len({end.deleted for end in ends}) == 1


@given(changes)
@settings(max_examples=80)
def test_what_comes_again_changes_nothing(drawn):
    items = [change(date, deleted, **fields) for date, deleted, fields in drawn]
    state = state_of(items)
    again = state.copy()
    source = Source("kormitel", NOW + 1000)
    assert not any(again.apply_change(item, source) for item in items)
    # The object may be sent again, but is the same.
    again.finalize(state, source)
    again.changed = state.changed
    assert again == state


def test_who_sends_an_older_change_is_told_the_newer_one_anew():
    state = state_of([change(10, False, feed="FREE"), change(30, feed="NO")])
    before, source = state.copy(), Source("kormitel", NOW + 10)
    for sent, is_told in (
        ([change(20, feed="FREE")], True),
        ([change(20, feed="NO")], False),
        # The same portion, repeated.
        ([change(10, False, feed="FREE"), change(30, feed="NO")], False),
    ):
        again = before.copy()
        assert not any(again.apply_change(item, source) for item in sent)
        assert again.finalize(before, source) == is_told
        assert again.changed == (NOW + 10 if is_told else NOW + 2)
        assert again.fields == {"feed": "NO"}


def test_each_field_has_its_own_date():
    state = state_of([change(10, feed="FREE", qr="A"), change(30, qr="B"), change(20, feed="NO")])
    assert state.fields == {"feed": "NO", "qr": "B"}
    assert state.written["feed"].date == 20
    assert state.changed == NOW + 3


def test_an_older_change_does_not_undo_what_a_newer_one_only_confirmed():
    late = state_of([change(10, feed="FREE"), change(30, feed="FREE"), change(20, feed="NO")])
    assert late.fields == {"feed": "FREE"}
    assert late.changed == NOW + 1


def test_a_date_is_not_later_than_now():
    state = state_of([change(9 * NOW, feed="FREE")])
    before = state.copy()
    own = Source("operator", NOW + 2, own=True)
    assert state.apply_change(change(None, feed="NO"), own)
    assert state.finalize(before, own)
    assert state.fields == {"feed": "NO"}


def test_what_is_changed_at_the_hub_is_newer_even_if_its_clock_went_back():
    state = state_of([change(NOW, feed="FREE")])
    own = Source("operator", 5, own=True)
    before = state.copy()
    assert state.apply_change(change(None, feed="NO"), own)
    assert state.finalize(before, own)
    assert state.changed == before.changed  # never before it was last sent
    assert not state.apply_change(change(NOW - 1, feed="CHILD"), Source("kormitel", NOW + 9))


def test_lives_are_dated_and_remembered():
    state = state_of([change(10, name="a"), change(20, True), change(30, False)])
    assert state.alive
    assert (state.created, state.born, state.died) == (NOW + 1, NOW + 3, None)
    assert state.lives == [[NOW + 1, NOW + 2]]


def test_what_is_deleted_and_back_in_one_go_has_not_been_away():
    state = state_of([change(10, name="a")])
    before = state.copy()
    source = Source("kormitel", NOW + 9)
    state.apply_change(change(20, True), source)
    state.apply_change(change(30, False), source)
    assert not state.finalize(before, source)
    assert (state.born, state.died, state.lives) == (NOW + 1, None, None)


def test_what_was_deleted_before_it_was_known_stays_so():
    state = state_of([change(20, True), change(10, name="a")])
    assert not state.alive
    assert state.born is None
    assert state.fields == {"name": "a"}


def test_what_a_peer_does_not_know_yet_is_not_undone_by_its_answer():
    state = state_of([change(10, feed="FREE", qr="A")], at=NOW)
    own = Source("operator", NOW + 50, own=True)
    state.apply_change(change(None, feed="NO"), own)
    answer = Source("http://peer/", NOW + 60, unsent=NOW + 40)
    assert state.apply_change(change(None, feed="FREE", qr="B"), answer)
    assert state.fields == {"feed": "NO", "qr": "B"}
    later = Source("http://peer/", NOW + 70, unsent=NOW + 55)
    assert state.apply_change(change(None, feed="FREE"), later)
    assert not state.apply_change(change(None, feed="FREE"), later._replace(at=NOW + 80))


def test_writes_are_stored_in_few_words():
    state = state_of([change(10, False, name="a", qr="A", feed="NO"), change(20, qr="B")])
    stored = stored_writes(state)
    assert stored == [
        [10, NOW + 1, "kormitel", ["deleted", "feed", "name"]],
        [20, NOW + 2, "kormitel", ["qr"]],
    ]
    assert writes_by_field(stored) == state.written


def test_true_is_not_one():
    assert not same_json(True, 1)
    assert not same_json(0, False)
    assert same_json({"a": [1]}, {"a": [1]})
    assert not same_json("1", 1)
