"""The parser of sync answers: recorded answers, and faulty ones."""

import gc

from device.answer_oracle import Recorder, believed, check_answer, check_cut, fed, read
from device.lines_oracle import RECORD_MAX, Records
from device.raising import error_of
from device.vectors import good_answers, other_answers
from kalitka.sync.answer import AnswerError, AnswerParser
from kalitka.table import codes


def _bytewise(body):
    for i in range(len(body)):
        yield body[i : i + 1]


def test_every_recorded_answer_is_read_whole_and_byte_by_byte():
    answers = good_answers()
    assert len(answers) > 12
    for name, body in answers:
        expected = read(body)
        assert expected, name
        assert believed([body]) == expected, name
        assert believed(_bytewise(body)) == expected, name
        assert not any(item[0] == "dropped" for item in expected), name


def test_every_recorded_answer_is_read_in_two_and_three_pieces():
    for _, body in good_answers():
        for at in range(0, len(body), 3):
            check_answer(body, [at])
            check_answer(body, [at, at + 1])


def test_the_answer_of_two_rules_a_code_says_what_it_says():
    told, parser = fed([b"29921470%CODE,sbj-J5E5FBOKN5Z6%\nCODE_/3_1_2_1111000\nCODE_/9_1"])
    assert told == [
        ("minute", 29921470),
        ("delete", b"CODE"),
        ("delete", b"sbj-J5E5FBOKN5Z6"),
        ("rule", b"CODE", b"3_1_2_1111000"),
        ("rule", b"CODE", b"9_1"),
    ]
    assert (parser.deletes, parser.rules, parser.dropped, parser.reasons) == (2, 2, 0, {})


def test_an_answer_cut_anywhere_is_not_believed():
    for _, body in good_answers():
        for at in range(len(body) + 1):
            check_cut(body, at)


def test_a_cut_answer_says_how_much_of_it_had_come():
    words = error_of(AnswerError, fed, [b"1%A%\nA_/1_10_2"], False)
    assert words == "answer cut after 14 bytes"


def test_an_answer_without_its_first_line_is_refused_even_if_the_server_says_it_is_whole():
    for body in (b"", b"1", b"29921461", b"1%", b"1%A,B", b"1%A,B\n"):
        assert believed([body]) is None, body
        assert believed(_bytewise(body)) is None, body


def test_what_the_server_says_of_other_things_is_no_answer():
    for name, body in other_answers():
        assert believed([body]) is None, name
        assert believed(_bytewise(body)) is None, name


def test_html_and_garbage_are_refused_at_their_first_byte():
    for body in (
        b"<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n",
        b"<html>100%%\n</html>",
        b'{"status":0}',
        b"\x1f\x8b\x08\x00",
        b"\xef\xbb\xbf1%%\n",
        b"\n1%%\n",
        b" 1%%\n",
        b"-1%%\n",
        b"+1%%\n",
        b"%%\n",
        b"%A,B%\nA_/9_1",
        b"ok,7",
        b"\x00",
    ):
        parser = AnswerParser(Recorder())
        error_of(AnswerError, parser.feed, body[:1])
        assert believed([body]) is None, body


def test_a_wrong_first_line_is_refused():
    for body in (
        b"12a%%\n",
        b"1 %%\n",
        b"1.5%%\n",
        b"1\n%%\n",
        b"1\r\n",
        b"29921459,2,1795287578",
        b"12345678901%%\n",
        b"1%A\nA_/9_1\n",
        b"1%A\n%\nA_/9_1\n",
        b"1%\n%\n",
        b"1%A,\nB%\n",
        b"1%A%B%\n",
        b"1%A%A_/9_1",
        b"1%% \n",
        b"1%%\r\r\n",
        b"1%%\rA_/9_1",
        b"1%%%\n",
    ):
        assert read(body) is None, body
        assert believed([body]) is None, body
        assert believed(_bytewise(body)) is None, body


def test_a_first_line_without_its_second_percent_sign_is_refused_however_long():
    # The newline comes only after more bytes than the parser keeps of a code.
    for length in (255, 256, 323, 324, 325, 400, 5000):
        body = b"1%" + b"A" * length + b"\nB_/9_1\nC_/9_1,D%\n"
        assert believed([body]) is None, length
        assert believed(_bytewise(body)) is None, length


def test_nothing_is_told_before_the_minute_was_seen_to_be_one():
    recorder = Recorder()
    parser = AnswerParser(recorder)
    for byte in _bytewise(b"29921461"):
        parser.feed(byte)
        assert recorder.told == []
    parser.feed(b"%")
    assert recorder.told == [("minute", 29921461)]


def test_an_answer_that_goes_on_after_its_end_is_refused():
    parser = AnswerParser(Recorder())
    parser.feed(b"1%%\n")
    parser.finish(True)
    error_of(AnswerError, parser.feed, b"A_/9_1")


def test_no_changes_is_an_answer_with_or_without_its_newline():
    for body in (b"29921461%%\n", b"29921461%%", b"29921461%%\r\n", b"0%%"):
        check_answer(body, [3])
        assert believed([body]) == [("minute", int(body[: body.find(b"%")]))]


def test_line_ends_may_be_of_two_kinds_and_the_last_one_may_lack():
    lines = (b"1%A,B%", b"A_/9_1", b"B_/1_1_2")
    expected = read(b"\n".join(lines))
    for end in (b"\n", b"\r\n"):
        for last in (b"", end, end + end):
            body = end.join(lines) + last
            check_answer(body, [7])
            assert believed([body]) == expected, body
            assert believed(_bytewise(body)) == expected, body


def test_empty_lines_are_no_lines_but_count():
    assert believed([b"1%%\n\n\r\nA_/9_1\nrubbish\n"]) == [
        ("minute", 1),
        ("rule", b"A", b"9_1"),
        ("dropped", 5, "no _/ in line"),
    ]


def test_an_empty_name_among_the_deletes_is_dropped_and_the_others_are_told():
    for deletes, faults in ((b"A,,B", 1), (b"A,B,", 1), (b",A,B", 1), (b",A,,B,", 3)):
        body = b"1%" + deletes + b"%\n"
        check_answer(body, [3])
        told, parser = fed([body])
        assert [item[1] for item in told if item[0] == "delete"] == [b"A", b"B"]
        assert parser.reasons == {"empty code": faults}
    assert fed([b"1%,%\n"])[1].reasons == {"empty code": 2}


def test_a_delete_that_can_be_no_code_is_dropped_and_the_others_are_told():
    told, parser = fed([b"1%A,B\tB," + b"C" * 300 + b"," + b"D" * 5000 + b",E%\n"])
    assert [item[1] for item in told if item[0] == "delete"] == [b"A", b"E"]
    assert parser.reasons == {"forbidden byte in code": 1, "code longer than 255 bytes": 2}


def _check_dropped(line, reason, code):
    # A bad line between two good ones: the good ones reach the sink, the bad one is counted.
    body = b"5%G%\nG_/9_1\n" + line + b"\nG_/1_1_2"
    told, parser = fed([body])
    expected = [("minute", 5), ("delete", b"G"), ("rule", b"G", b"9_1")]
    if code is not None:
        expected.append(("rule", code, b""))
    expected.append(("dropped", 3, reason))
    expected.append(("rule", b"G", b"1_1_2"))
    assert told == expected, (line, told)
    assert believed(_bytewise(body)) == expected, line
    assert parser.reasons == {reason: 1} and parser.dropped == 1
    assert parser.rules == 2


def test_a_bad_rule_among_good_ones_is_dropped_and_its_code_is_still_told():
    for text, reason in (
        (b"8_1_2", "unknown kind of rule"),
        (b"", "unknown kind of rule"),
        (b"1_123456789012345678901234567890_2", "number of more than ten digits"),
        (b"3_1_2_111111", "week mask is not seven digits 0 or 1"),
        (b"3_1_2_1111112", "week mask is not seven digits 0 or 1"),
        (b"1_-1_2", "bad number in rule"),
        (b"1_2_1", "from is after to"),
        (b"3_86401_1_1111111", "day time beyond the day"),
        (b"9_2", "rule 9 is neither 9_0 nor 9_1"),
        (b"1_2", "wrong number of fields in rule"),
        (b"1_1_2_/9_1", "wrong number of fields in rule"),
        (b"1_" + b"1" * 70 + b"_2", "rule longer than 64 bytes"),
        (b"1_" + b"1" * 7000 + b"_2", "rule longer than 64 bytes"),
    ):
        _check_dropped(b"CODE_/" + text, reason, b"CODE")


def test_a_line_without_a_good_code_is_dropped_whole():
    for line, reason in (
        (b"_/9_1", "empty code"),
        (b"CODE/9_1", "no _/ in line"),
        (b"rubbish", "no _/ in line"),
        (b"A,B_/9_1", "forbidden byte in code"),
        (b"A%B_/9_1", "forbidden byte in code"),
        (b"A\x00B_/9_1", "forbidden byte in code"),
        (b"A\rB_/9_1", "forbidden byte in code"),
        (b"C" * 256 + b"_/9_1", "code longer than 255 bytes"),
        (b"C" * 300 + b"_/9_1", "code longer than 255 bytes"),
        (b"C" * 323 + b"_/9_1", "code longer than 255 bytes"),
        (b"C" * 330 + b"_/9_1", "code longer than 255 bytes"),
        (b"C" * 9000 + b"_/9_1", "code longer than 255 bytes"),
    ):
        _check_dropped(line, reason, None)


def test_the_longest_code_with_the_longest_rule_fits():
    text = b"7_0000000480_0000001200_1111111_0000000010_9999999999"
    for code in (b"Z" * 255, b"F" * 255):
        for end in (b"\n", b"\r\n", b""):
            body = b"1%" + code + b"%\n" + code + b"_/" + text + end
            expected = [
                ("minute", 1),
                ("delete", code),
                ("rule", code, b"7_480_1200_1111111_10_9999999999"),
            ]
            assert believed([body]) == expected
            assert believed(_bytewise(body)) == expected


def test_a_line_is_split_at_its_first_separator():
    assert believed([b"1%%\nA__/9_1\n/B_/9_0"]) == [
        ("minute", 1),
        ("rule", b"A_", b"9_1"),
        ("rule", b"/B", b"9_0"),
    ]


class _Expecting:
    """A sink that compares each item with the expected one."""

    def __init__(self, names):
        self._names = iter(names)
        self._records = Records(RECORD_MAX, 1, False)
        self.told = 0

    def minute(self, minutes):
        assert (self.told, minutes) == (0, 29921461)
        self.told += 1

    def delete(self, code):
        assert code == next(self._names)
        self.told += 1

    def rules(self, text, at, n, marks):
        result, found = self._records.pack(text, at, n, marks)
        for told in found:
            assert told == (codes.pack(b"LAST"), b"\x09\x01")
            self.told += 1
        self._records.clear()
        return result


def test_a_first_line_of_hundreds_of_codes_is_read_however_it_is_split():
    names = [b"%016X" % (i * 7919 * 104729) for i in range(700)]
    body = b"29921461%" + b",".join(names) + b"%\nLAST_/9_1"
    assert len(body) > 11000
    for size in (1, 7, 16, 17, 64, 536, 1460, 4096):
        sink = _Expecting(names)
        parser = AnswerParser(sink)
        for i in range(0, len(body), size):
            parser.feed(body[i : i + size])
        parser.finish(True)
        assert sink.told == 702, size


def test_a_piece_may_be_the_beginning_of_a_buffer_that_is_used_again():
    body = b"1%A,B%\nA_/9_1\nB_/3_1_2_1111111"
    recorder = Recorder()
    parser = AnswerParser(recorder)
    buffer = bytearray(b"%,\n_/" * 2)
    for i in range(0, len(body), 5):
        piece = body[i : i + 5]
        buffer[: len(piece)] = piece
        parser.feed(buffer, len(piece))
    parser.finish(True)
    assert recorder.told == read(body)


def test_lines_of_one_code_need_not_be_together():
    check_answer(b"1%A,B%\nA_/9_1\nB_/9_0\nA_/1_1_2\nA_/9_1", [9, 20])


class _Deaf:
    def __init__(self):
        self._records = Records(RECORD_MAX + 1024, 200, True)

    def minute(self, minutes):
        pass

    def delete(self, code):
        pass

    def rules(self, text, at, n, marks):
        self._records.clear()
        return self._records.add_lines(text, at, n, marks)

    def dropped(self, line, reason):
        pass


def _growth(start, piece, times):
    # Returns the bytes of live heap that feeding leaves behind; 0 if that cannot be measured.
    parser = AnswerParser(_Deaf())
    parser.feed(start)
    parser.feed(piece)
    gc.collect()
    before = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    for _ in range(times):
        parser.feed(piece)
    gc.collect()
    growth = (gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0) - before
    parser.finish(True)
    return growth


def test_memory_does_not_grow_with_the_answer():
    for start, piece, times in (
        (b"1%%\n", b"A" * 4096, 256),  # one endless line of 1 MiB
        (b"1%%\nA_/1_", b"1" * 4096, 256),  # one endless rule
        (b"1%%\n", b"04A1B2C3_/3_480_1200_1111100\n" * 140, 256),  # many lines
        (b"1%%\n", b"\n" * 512, 32),
        (b"1%%\n", b"x\n" * 256, 32),  # lines that are all dropped
    ):
        assert _growth(start, piece, times) <= 512, piece[:30]


def _growth_of_deletes(piece):
    parser = AnswerParser(_Deaf())
    parser.feed(b"1%A,")
    parser.feed(piece)
    gc.collect()
    before = gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0
    for _ in range(256):
        parser.feed(piece)
    gc.collect()
    return (gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0) - before


def test_memory_does_not_grow_with_the_first_line():
    for piece in (b"A" * 4096, b"04A1B2C3," * 455):
        assert _growth_of_deletes(piece) <= 512, piece[:30]
