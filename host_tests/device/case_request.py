"""The sync request's body in the four forms of the seed."""

import asyncio

from device.fake_time import run
from device.raising import error_of
from kalitka.sync import client
from kalitka.table.codes import CodeError


def _body(minute, names=None):
    return b"".join(client.body_pieces(minute, names))


def _length(minute, names=None):
    async def measured():
        return await client.body_length(minute, names)

    return run(measured)


def test_the_four_forms_of_the_seed():
    assert _body(323213312, []) == b"323213312%"
    assert _body(323213312) == b"323213312"
    assert _body(None, [b"code1", b"code2"]) == b"%code1,code2"
    assert _body(323213312, [b"code1", b"code2"]) == b"323213312%code1,code2"


def test_a_full_sync_asks_with_minute_0():
    assert _body(0) == b"0"
    assert _body(0, [b"A"]) == b"0%A"


def test_one_code_has_no_comma():
    assert _body(None, [b"A"]) == b"%A"


def test_a_minute_goes_out_as_it_came():
    for minute in (1, 29921461, 1073741824, 4294967296, 9999999999):
        assert _body(minute) == str(minute).encode()


def test_the_length_is_that_of_the_body():
    names = [b"code%d" % i for i in range(120)]
    for minute in (None, 0, 29921461, 9999999999):
        for some in (names, names[:1]):
            assert _length(minute, some) == len(_body(minute, some))
    assert _length(29921461) == 8
    assert _length(29921461, []) == 9


def test_others_have_their_turns_while_a_long_list_is_measured():
    turns = []

    async def others():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    async def measured():
        task = asyncio.create_task(others())
        size = await client.body_length(7, [b"%08X" % i for i in range(1000)])
        task.cancel()
        return size

    assert run(measured) == len("7%") + 9 * 1000 - 1
    assert len(turns) >= 2000 // 64


def test_codes_are_asked_for_one_at_a_time():
    taken = []

    def names():
        for i in range(1000):
            taken.append(i)
            yield b"%08X" % i

    stream = client.body_pieces(7, names())
    assert next(stream) == b"7"
    assert next(stream) == b"%"
    assert taken == []
    assert next(stream) == b"00000000"
    assert taken == [0]
    rest = list(stream)
    assert len(taken) == 1000
    assert max(len(piece) for piece in rest) <= 8
    assert b"7%00000000" + b"".join(rest) == _body(7, [b"%08X" % i for i in range(1000)])


def test_a_request_needs_a_minute_or_codes():
    for names in (None, [], (), iter([])):
        error_of(ValueError, _body, None, names)
        error_of(ValueError, _length, None, names)


def test_what_is_no_code_is_not_sent():
    for code in (b"", b"A,B", b"A%B", b"A\n", b"A_/9_1", b"Z" * 256):
        error_of(CodeError, _body, 1, [b"GOOD", code])
        error_of(CodeError, _length, 1, [b"GOOD", code])
