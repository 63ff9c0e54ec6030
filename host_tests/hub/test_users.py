"""Users: accepted names and passwords, roles, and the last admin, who always remains."""

import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr, ValidationError
from sqlalchemy import select, text

from hub.hub_accounts import HASHER, PASSWORD, add_user, everything_in
from hub.hub_site import ON_SQLITE
from kalitka_hub.accounts import api_tokens, login, passwords, users
from kalitka_hub.accounts.users import NewUser, UserChange
from kalitka_hub.errors import InvalidRequest, NotFound
from kalitka_hub.store import audit_trail
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import ApiToken, LoginSession


@pytest.fixture
def with_admin(database):
    add_user(database, "anna", "admin")
    return database


def change(database, user, /, **changes):
    with write_transaction(database, "anna") as session:
        users.change_user(session, user, UserChange(**changes))


def role_of(database, name):
    with database.snapshot() as session:
        return users.existing_user(session, name).role


def test_a_password_is_known_again_and_no_other_is():
    kept = passwords.hash_of(PASSWORD)
    assert PASSWORD not in kept
    assert passwords.verify_password(kept, PASSWORD)
    for other in ("", PASSWORD + " ", PASSWORD.upper(), kept):
        assert not passwords.verify_password(kept, other)
    assert passwords.hash_of(PASSWORD) != kept


def test_without_a_hash_no_password_is_right():
    for password in ("", PASSWORD, "None"):
        assert not passwords.verify_password(None, password)
    assert not passwords.verify_password("not a hash", PASSWORD)


def test_a_letter_is_the_same_however_it_was_composed():
    assert passwords.verify_password(
        passwords.hash_of("Žižkov-brána"), "Z\u030ciz\u030ckov-bra\u0301na"
    )


def test_hashes_are_argon2id_and_those_of_weaker_parameters_are_outdated(monkeypatch):
    monkeypatch.setattr(passwords, "_HASHER", HASHER)
    kept = passwords.hash_of(PASSWORD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert not passwords.is_outdated(kept)
    assert passwords.is_outdated(PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD))


@pytest.mark.parametrize(
    "password",
    [
        "",
        "ninechars",
        "x" * 10,
        "abababababab",
        "1234567890",
        "Password123",
        "QWERTYUIOP",
        "йцукенгшщз",
        "alexander1",
        "Alexander",
        "alexanderALEXANDER12",
        "x1" * 300,
    ],
)
def test_what_everybody_tries_is_no_password(password):
    with pytest.raises(InvalidRequest):
        passwords.check_password(password, "alexander")


@pytest.mark.parametrize(
    "password", ["tencharsok", "пароль на воротах", "     spaces    count", "alexander-the-great"]
)
def test_length_is_all_that_a_password_needs(password):
    passwords.check_password(password, "alexander")


@pytest.mark.parametrize(
    "name", ["", " ", "a:b", "a/b", ".", "..", "-x", "a b", "a\nb", "a\x00", "<b>", "x" * 65]
)
def test_a_name_that_would_be_in_the_way_is_refused(name):
    with pytest.raises(ValidationError):
        NewUser(name=name, role="viewer")


def test_names_that_look_alike_are_one_name(with_admin):
    add_user(with_admin, "Re\u0301my", "viewer")
    with pytest.raises(InvalidRequest, match="already"):
        add_user(with_admin, "R\u00e9my", "viewer")
    assert role_of(with_admin, "R\u00e9my") == "viewer"


def test_fields_that_nobody_knows_are_refused():
    for model in (NewUser, UserChange):
        with pytest.raises(ValidationError):
            model.model_validate({"name": "bob", "role": "viewer", "admin": True})


def test_each_role_may_what_those_before_it_may():
    may = [[users.has_role(role, needed) for needed in users.ROLES] for role in users.ROLES]
    assert users.ROLES == ("integration", "viewer", "operator", "admin")
    assert may == [[at >= below for below in range(4)] for at in range(4)]


@ON_SQLITE
@pytest.mark.parametrize("changes", [{"role": "operator"}, {"disabled": True}, {"password": None}])
def test_the_last_admin_stays_one(with_admin, changes):
    add_user(with_admin, "bob", "operator")
    with write_transaction(with_admin) as session:
        users.add_user(session, NewUser(name="robot", role="admin"))  # it cannot log in
    with pytest.raises(InvalidRequest, match="last admin"):
        change(with_admin, "anna", **changes)
    with (
        pytest.raises(InvalidRequest, match="last admin"),
        write_transaction(with_admin) as session,
    ):
        users.remove_user(session, "anna")
    assert role_of(with_admin, "anna") == "admin"
    change(with_admin, "bob", role="admin")
    change(with_admin, "anna", **changes)
    with pytest.raises(InvalidRequest, match="last admin"):
        change(with_admin, "bob", disabled=True)


def test_what_is_not_given_stays(with_admin):
    add_user(with_admin, "bob", "operator")
    change(with_admin, "bob", name="robert")
    with with_admin.snapshot() as session:
        user = users.existing_user(session, "robert")
        assert (user.role, user.disabled) == ("operator", False)
        assert passwords.verify_password(user.password_hash, PASSWORD)
        assert users.find_user(session, "bob") is None
    with pytest.raises(InvalidRequest, match="already"):
        change(with_admin, "robert", name="anna")
    change(with_admin, "robert", name="robert")
    with pytest.raises(NotFound):
        change(with_admin, "bob", role="viewer")


def test_a_removed_user_leaves_nothing_to_come_in_by(with_admin):
    add_user(with_admin, "bob", "operator")
    with write_transaction(with_admin) as session:
        api_tokens.add_token(session, "bob", "a program")
    login.log_in(with_admin, "bob", PASSWORD, "192.0.2.1")
    with write_transaction(with_admin) as session:
        users.remove_user(session, "bob")
    with with_admin.snapshot() as session:
        assert session.scalars(select(ApiToken)).all() == []
        assert session.scalars(select(LoginSession)).all() == []
        assert [user.name for user in users.list_users(session)] == ["anna"]


def test_users_come_by_name_and_in_parts(with_admin):
    for name in ("dora", "bob", "carl"):
        add_user(with_admin, name, "viewer")
    with with_admin.snapshot() as session:
        names = [user.name for user in users.list_users(session, None, 3)]
        assert names == ["anna", "bob", "carl"]
        assert [user.name for user in users.list_users(session, "carl", 3)] == ["dora"]


def test_a_failed_change_changes_nothing(with_admin):
    before = everything_in(with_admin)
    with pytest.raises(InvalidRequest):
        add_user(with_admin, "bob", "viewer", "short")
    with pytest.raises(InvalidRequest):
        change(with_admin, "anna", name="eva", password=SecretStr("short"))
    assert everything_in(with_admin) == before


def test_every_change_is_audited_and_no_password_is(with_admin):
    add_user(with_admin, "bob", "operator")
    change(with_admin, "bob", role="viewer", password=SecretStr("another good password"))
    with write_transaction(with_admin, "anna") as session:
        users.remove_user(session, "bob")
    with with_admin.snapshot() as session:
        found = audit_trail.list_audit(session, kind="users", object="bob")
        told = [(entry.who, entry.action, entry.before, entry.after) for entry in found]
        shown = str(session.execute(text("SELECT * FROM audit")).all())
    bob = {"name": "bob", "role": "operator", "disabled": False, "has_password": True}
    viewer = bob | {"role": "viewer"}
    assert told == [
        ("anna", "remove", viewer, None),
        ("anna", "change", bob, viewer | {"password": "changed"}),
        ("the test", "add", None, bob),
    ]
    for secret in (PASSWORD, "another good password", "argon2"):
        assert secret not in shown
