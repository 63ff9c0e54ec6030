"""Invalid requests: each is answered with one clear line of plain text."""

import pytest
from sqlalchemy import update

from hub.hub_site import ON_SQLITE, SECRET, SYNC, headers
from kalitka_hub.reader_api.token_reader_api import BODY_MAX
from kalitka_hub.site.readers import remove_reader
from kalitka_hub.site.site_secret import set_secret
from kalitka_hub.store.changes import write_transaction
from kalitka_hub.store.models import Site

pytestmark = ON_SQLITE
TIMES = ("/api/v1/token-reader/time", "/api/v2/token-reader/time")


def line_of(response):
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    text = response.content.decode()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize("missing", ["X-AuthToken", "X-AuthReader"])
def test_a_missing_header_is_named(site, missing):
    sent = headers()
    del sent[missing]
    answers = [site.client.post(SYNC, content="0", headers=sent)]
    answers += [site.client.get(path, headers=sent) for path in TIMES]
    for answer in answers:
        assert answer.status_code == 401
        assert missing in line_of(answer)


def test_wrong_secret_and_unknown_reader_are_refused_alike(site):
    wrong = headers() | {"X-AuthToken": "not-the-secret"}
    unknown = headers("GATE-9")
    for get in (
        lambda sent: site.client.post(SYNC, content="0", headers=sent),
        *(lambda sent, path=path: site.client.get(path, headers=sent) for path in TIMES),
    ):
        first, second = get(wrong), get(unknown)
        assert (first.status_code, second.status_code) == (403, 403)
        assert line_of(first) == line_of(second)
        for answer in (first, second):
            assert SECRET not in answer.text
            assert "not-the-secret" not in answer.text


def test_a_secret_that_no_header_should_have_is_just_wrong(site):
    sent = headers() | {"X-AuthToken": "schlüssel".encode()}
    assert site.client.post(SYNC, content="0", headers=sent).status_code == 403


def test_nobody_unknown_has_a_long_body_read(site):
    for content in (b"A" * (BODY_MAX + 1), b"%" + b"A," * 100):
        answer = site.client.post(
            SYNC, content=content, headers=headers() | {"X-AuthToken": "wrong"}
        )
        assert answer.status_code == 403
        line_of(answer)
        assert site.client.post(SYNC, content=content, headers=headers()).status_code in (400, 413)


def test_without_a_secret_everyone_is_refused(site):
    with site.database.write_session() as session:
        session.execute(update(Site).values(secret_sha256=None))
    for secret in (SECRET, "None", "x"):
        sent = headers() | {"X-AuthToken": secret}
        assert site.client.post(SYNC, content="0", headers=sent).status_code == 403


def test_a_new_secret_and_a_removed_reader_count_at_once(site):
    site.ask("0")
    with write_transaction(site.database) as session:
        set_secret(session, "another-secret")
    assert site.client.post(SYNC, content="0", headers=headers()).status_code == 403
    with write_transaction(site.database) as session:
        set_secret(session, SECRET)
        remove_reader(session, "GATE-1")
    assert site.client.post(SYNC, content="0", headers=headers()).status_code == 403
    site.ask("0", "GATE-2")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"%",
        b"-1",
        b"+1",
        b" 1",
        b"1\n",
        b"1.5",
        b"0x10",
        b"12345678901",
        b"abc%A",
        "\uff11".encode(),
        b"\x00\xff",
        b"%A,",
        b"%,A",
        b"%A,,B",
        b"%A\n",
        b"5%A%B",
        b"5%A_/9_1",
        b"%" + b"A" * 256,
    ],
)
def test_a_bad_body_is_refused_and_its_fault_named(site, body):
    answer = site.client.post(SYNC, content=body, headers=headers())
    assert answer.status_code == 400
    assert len(line_of(answer)) < 250


def test_the_longest_body_is_taken_and_one_byte_more_is_not(site):
    body = b"%" + b",".join([b"A" * 255] * (BODY_MAX // 256))
    assert len(body) == BODY_MAX
    assert site.client.post(SYNC, content=body, headers=headers()).status_code == 200
    answer = site.client.post(SYNC, content=body + b"B", headers=headers())
    assert answer.status_code == 413
    assert str(BODY_MAX) in line_of(answer)


def test_a_body_of_undeclared_length_is_bounded_too(site):
    sent = 0

    def parts():
        nonlocal sent
        for _ in range(20):
            sent += 1
            yield b"A" * (BODY_MAX // 10)

    answer = site.client.post(SYNC, content=parts(), headers=headers())
    assert answer.status_code == 413
    line_of(answer)


def test_an_unknown_path_is_404_with_the_paths_that_exist(site):
    for path in ("/", "/api/v1/token-reader/access-tokens/sync/", "/docs", "/openapi.json"):
        answer = site.client.post(path, content="0", headers=headers())
        assert answer.status_code == 404
        assert SYNC in line_of(answer)


def test_a_wrong_method_is_405_with_the_right_one(site):
    answer = site.client.get(SYNC, headers=headers())
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "POST" in line_of(answer)
    assert site.client.post(TIMES[0], headers=headers()).status_code == 405


def test_health_needs_no_secret(site):
    answer = site.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok")
