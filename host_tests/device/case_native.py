"""The hot loops against their oracles, with random and with extreme input.

Runs on every platform of the loops: as viper code, as bytecode, in CPython.
"""

from device import blocks_oracle, lines_oracle, merge_oracle, order_oracle, sums_oracle
from device.codes_oracle import packed_code
from device.random_numbers import Numbers
from device.table_plan import ALWAYS, DATES, HOURS, NEVER, SECONDS, code_of, rule_of

RULES = (ALWAYS, NEVER, HOURS, DATES, SECONDS)
LONGEST = b"\x05\xfe"  # the head of a packed code of 255 bytes


def _code(numbers):
    # Returns mostly a short code near others, of any class, now and then a long one.
    kind = numbers.below(12)
    if kind < 8:
        return code_of(numbers.below(1 << numbers.below(15)))
    if kind < 10:
        return code_of(numbers.below(32768) << 13 | numbers.below(8192))
    letter = b"0F9zZ~"[numbers.below(6)]
    return bytes((letter,)) * (1 + numbers.below(255))


def _codes(numbers, count):
    return [_code(numbers) for _ in range(count)]


def _packed(numbers, count):
    return [packed_code(code) for code in _codes(numbers, count)]


def _in_order(codes):
    return sorted(set(codes))


def test_codes_of_every_class_and_length_are_packed_where_they_are_to_be():
    for letter in (b"0", b"F", b"f", b"Z", b"\xff"):
        for size in range(258):
            lines_oracle.check_pack_code(letter * size, size % 5)
    for code in (b"A_/B", b"A/B", b"_", b"_/", b"A_", b"/A", b"aA", b"\x7f", b"%", b"A,B", b"A\n"):
        lines_oracle.check_pack_code(code, 3)
    for seed in range(30):
        for code in _codes(Numbers(seed), 5):
            lines_oracle.check_pack_code(code, seed)


def test_rules_at_the_edges_of_every_number_are_packed_in_their_room():
    edges = [0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455, 268435456]
    edges += [2**30 - 1, 2**30, 2**31, 2**32 - 1, 2**32, 9999999999]
    for first in edges:
        for last in edges:
            lines_oracle.check_pack_rule("1_%d_%d" % (first, last))
    for start in (0, 127, 128, 1440, 1441, 16383, 16384, 86400, 86401, 99999, 9999999999):
        lines_oracle.check_pack_rule("3_%d_1_0101010" % start)
        lines_oracle.check_pack_rule("7_1_%010d_1111111_0_9999999999" % start)
    for text in (
        "",
        "9",
        "9_",
        "9_1",
        "9_2",
        "9_11",
        "9_1_",
        "1_1",
        "3_1_2_111111",
        "5_1_1_1_1_1",
    ):
        lines_oracle.check_pack_rule(text)


def _line(numbers):
    kind = numbers.below(20)
    if kind == 0:
        return (b"", b"\r", b"rubbish", b"_/", b"A_/", b"_/9_1", b"A_/8_1\r", b"~" * 400)[
            numbers.below(8)
        ]
    if kind == 1:
        return b"Z" * numbers.below(340) + b"_/9_1"
    if kind == 2:
        return b"A_/3_0_0_" + b"1" * numbers.below(330)
    text = (b"9_1", b"3_480_1200_1111100", b"1_5_29921460", b"3_36000_78200_1110101")
    return _code(numbers) + b"_/" + text[numbers.below(4)] + (b"\r" if kind == 3 else b"")


def test_lines_become_records_in_whatever_pieces_they_come():
    for seed in range(60):
        numbers = Numbers(seed)
        text = b"\n".join([_line(numbers) for _ in range(numbers.below(12))])
        cuts = [numbers.below(4000) for _ in range(numbers.below(6))]
        most = 1 + numbers.below(20)
        for cached in (True, False):
            lines_oracle.check_lines(text, cuts, numbers.below(700), most, cached)


def test_the_longest_line_makes_the_longest_record_in_the_least_room():
    rule = b"7_0086400_0086400_1111111_0000000000_9999999999"
    for size in (254, 255, 256):
        text = b"%s_/%s\n" % (b"Z" * size, rule)
        lines_oracle.check_lines(text * 3, [len(text) - 1], 0)
    for size in range(320, 330):
        lines_oracle.check_lines(b"A_/" + b"0" * (size - 3) + b"\nB_/9_1\n", [], 320)
        lines_oracle.check_lines(b"0" * size + b"\r\nB_/9_1\n", [], 320)
        lines_oracle.check_lines(b"0" * (size - 2) + b"_/\nB_/9_1\n", [], 320)


def test_rule_sets_get_numbers_until_there_is_no_room():
    numbers = Numbers(1)
    lines_oracle.check_numbers([b"", ALWAYS, b"", NEVER, ALWAYS, HOURS + DATES])
    lines_oracle.check_numbers([b"%d" % (n % 500) for n in range(1000)])
    lines_oracle.check_numbers([numbers.bytes(numbers.below(300)) for _ in range(60)])
    lines_oracle.check_numbers([b"~" * n for n in (255, 256, 254, 255, 720)])
    lines_oracle.check_numbers([bytes((n,)) * 30 for n in range(120)] + [b"x"])


def test_rules_of_lines_become_their_numbers_as_long_as_there_are_any():
    for seed in range(25):
        numbers = Numbers(seed)
        text = b""
        for code in _codes(numbers, numbers.below(40)):
            text += b"%s_/1_%d_29999999\n" % (code, numbers.below(30))
        lines_oracle.check_lines(text, [numbers.below(999)], 300, 9, True, numbers.below(390))


def test_texts_are_remembered_exactly_and_only_as_many_as_there_is_room_for():
    # Enough texts for collisions in the slots, each text twice; some differ in one character.
    texts = [b"1_%d_29999999" % n for n in range(260)]
    texts += [b"1_0%d_29999999" % n for n in range(40)]
    texts += [b"3_%d_1200_1111100" % n for n in range(1430, 1450)]
    texts += [b"9_1", b"9_0", b"9_1_", b"9:1", b"9_?", b"1_1_1/", b"9_1\r"]
    text = b"".join([b"%08X_/%s\n" % (n * 7919, rule) for n, rule in enumerate(texts + texts)])
    lines_oracle.check_lines(text, list(range(0, len(text), 1024)), 600, 64)


def test_sums_do_not_depend_on_the_order_and_tell_all_else_apart():
    for seed in range(60):
        numbers = Numbers(seed)
        table = {}
        for code in _codes(numbers, numbers.below(12)):
            some = {RULES[numbers.below(5)] for _ in range(numbers.below(4))}
            table[code] = sorted(some) + [rule_of(n) for n in range(numbers.below(3))]
        sums_oracle.check_digest(sorted(table.items()), seed)


def test_two_codes_that_have_each_other_s_rules_have_other_sums():
    one = [(b"A", [ALWAYS]), (b"B", [NEVER])]
    other = [(b"A", [NEVER]), (b"B", [ALWAYS])]
    both = [(b"A", [ALWAYS, NEVER]), (b"B", [])]
    sums = [sums_oracle.sums_of(table) for table in (one, other, both)]
    assert sums[0] != sums[1] and sums[0] != sums[2] and sums[1] != sums[2]
    # Each of the two sums alone tells them apart, too.
    assert len({s[0] for s in sums}) == len({s[1] for s in sums}) == 3


def test_each_of_the_two_sums_tells_tables_of_one_rule_apart():
    seen = [set(), set()]
    for n in range(400):
        for rule in (ALWAYS, NEVER, rule_of(n), b""):
            sums = sums_oracle.sums_of([(b"%08X" % (n * 3), [rule] if rule else [])])
            for i in (0, 1):
                seen[i].add(sums[i])
    # Two of 1600 sums are equal by chance in one of a thousand such tests.
    assert (len(seen[0]), len(seen[1])) == (1600, 1600)


def _values(numbers):
    kind = numbers.below(4)
    if kind == 0:
        return b"\x00"
    if kind == 1:
        rule = numbers.bytes(numbers.below(70))
        return bytes((1, len(rule))) + rule
    return blocks_oracle.value_of(numbers.below(384))


def test_it_is_noted_how_records_stand_to_one_another():
    for seed in range(60):
        numbers = Numbers(seed)
        some = _codes(numbers, numbers.below(30))
        codes = [packed_code(code) for code in some]
        if seed % 3:
            codes = sorted(codes)
        lines_oracle.check_notes([(code, _values(numbers)) for code in codes])
        lines_oracle.check_lines_in_order(some)
        lines_oracle.check_lines_in_order([b"%08X" % (seed * 65536 + n) for n in range(9)])


def _families(numbers):
    # Returns codes of all kinds, or of one kind with a shared prefix of some length.
    codes = _packed(numbers, 1 + numbers.below(60))
    if numbers.below(2):
        head = b"\x01\x06\x04" + numbers.bytes(numbers.below(4))
        codes = [head + numbers.bytes(9 - len(head)) for _ in codes]
    return codes


def test_a_heap_gives_codes_in_their_order():
    for seed in range(60):
        numbers = Numbers(seed)
        codes = _families(numbers)
        order_oracle.check_sift(codes + codes[: numbers.below(9)], 0, seed % 3)
        order_oracle.check_sift(codes, 258 + numbers.below(100), seed % 4)


def test_shell_s_sort_puts_records_into_code_order():
    for seed in range(90):
        numbers = Numbers(seed)
        codes = _families(numbers)
        codes = numbers.shuffled(codes + codes[: numbers.below(9)])
        order_oracle.check_sort(codes, 1 + numbers.below(40), seed % 3)
    for size in (1, 2, 3, 255):
        codes = [
            bytes((5, size - 1)) + b"~" * (size - 1) + bytes((n,)) for n in range(200, 150, -1)
        ]
        for less in range(3):
            order_oracle.check_sort(codes, 64, less)


def test_keys_tell_the_order_of_codes_or_are_the_same():
    for seed in range(60):
        numbers = Numbers(seed)
        order_oracle.check_keys(_families(numbers)[:20], seed % 4)
    order_oracle.check_keys(
        [b"\x01\x00\x00", b"\x01\x00\xff", b"\x01\x01\x00\x00", b"\x05\x00A"], 0
    )


def test_order_is_that_of_bytes():
    codes = [b"\x01\x00\x00", b"\x01\x00\xff", b"\x01\x01\x00\x00", b"\x05\x00A", b"\x02\x00\x0f"]
    codes += [LONGEST + b"~" * 254 + bytes((last,)) for last in (0, 1, 254, 255)]
    codes += _packed(Numbers(3), 12)
    for one in codes:
        for other in codes:
            order_oracle.check_order(one, other)


def _entries(numbers, codes):
    out = []
    for code in codes:
        number = numbers.below(387) - 2
        rule_set = numbers.bytes(numbers.below(9) * numbers.below(20)) if number == -1 else b""
        out.append((code, number, rule_set))
    return out


def test_blocks_are_coded_as_the_format_says_and_walked_back():
    for seed in range(60):
        numbers = Numbers(seed)
        codes = sorted(_packed(numbers, 1 + numbers.below(40)))
        blocks_oracle.check_block(_entries(numbers, codes), 300 + numbers.below(900))


def test_gaps_of_every_length_carry_and_borrow():
    # Gaps between numbers with ones and zeros at every bit position.
    for size in (1, 2, 3, 4, 8, 9, 33, 255):
        top = (1 << 8 * size) - 1
        values = {0, 1, top, top - 1, top // 3, top // 2, top // 2 + 1, 255, 256, 127, 128}
        for bit in range(0, 8 * size, 1 + size // 3):
            values.add(1 << bit)
            values.add(top - (1 << bit))
            values.add((1 << bit) - 1)
        head = bytes((5, size - 1))
        codes = [head + value.to_bytes(size, "big") for value in sorted(values) if value <= top]
        for begin in range(min(4, len(codes))):
            some = codes[begin :: 1 + begin]
            blocks_oracle.check_block([(code, 7, b"") for code in some], 4000)


def test_the_widest_gap_finds_room_behind_a_block_filled_to_any_byte():
    # `encode` writes an entry before it knows whether the entry fits.
    least = LONGEST + b"!" * 255
    for last in (LONGEST + b"\xfe" + b"!" * 254, LONGEST + b"\xff" * 255):
        for filled in range(1, 9):
            some = [(b"\x01\x00" + bytes((n,)), 3, b"") for n in range(filled)]
            some += [(least, 300, b""), (last, 300, b"")]
            used = 2 * filled + 2 + 1 + len(least) + 2
            for limit in range(used, used + 12):
                blocks_oracle.check_block(some, limit)


def test_a_code_that_comes_again_and_again_takes_three_bytes():
    code = packed_code(b"04A1B2C3")
    some = [(code, 5, b"")] * 4 + [(code, -2, b""), (code, -1, ALWAYS), (code, 300, b"")]
    blocks_oracle.check_block(some, 1000)
    assert blocks_oracle.coded([(code, b"\x07")] * 4) == code + b"\x07" + b"\x00\x00\x07" * 3


def test_a_walk_through_rubbish_stays_in_its_room_and_ends():
    for seed in range(200):
        numbers = Numbers(seed)
        blocks_oracle.check_walk_of_anything(numbers.bytes(numbers.below(90)), 3 + seed % 256)


def test_a_walk_through_a_block_with_a_byte_changed_stays_in_its_room_and_ends():
    for seed in range(100):
        numbers = Numbers(seed)
        codes = sorted(_packed(numbers, 1 + numbers.below(9)))
        some = [(code, _values(numbers)) for code in codes]
        data = bytearray(blocks_oracle.coded(some))
        for _ in range(9):
            at = numbers.below(len(data))
            data[at] ^= 1 + numbers.below(255)
            room = max([len(code) for code in codes])
            blocks_oracle.check_walk_of_anything(data, room)


def test_a_gap_that_no_code_can_have_is_malformed():
    head = b"\x01\x00\xf0\x02"
    for gap in (b"\x10", b"\xff\x01", b"\xff\xff\xff\xff\xff\x7f", b"\x90", b"\x80\x80\x01"):
        blocks_oracle.check_walk_of_anything(head + gap + b"\x02", 258)
    code = LONGEST + b"\xff" * 255
    for gap in (
        b"\x01",
        b"\x80" * 291 + b"\x01",
        b"\x80" * 290 + b"\x10",
        b"\x80" * 291 + b"\x08",
    ):
        blocks_oracle.check_walk_of_anything(code + b"\x02" + gap + b"\x02", 258)


def _separators(numbers, codes):
    # Returns separators as a writer makes them: the shortest prefix of a code that is above the
    # code before.
    out = []
    for at in range(1 + numbers.below(3), len(codes), 1 + numbers.below(3)):
        shared = 0
        while codes[at - 1][shared] == codes[at][shared]:
            shared += 1
        out.append(codes[at][: shared + 1])
    return out


def test_the_block_of_a_code_is_the_number_of_separators_not_above_it():
    for seed in range(60):
        numbers = Numbers(seed)
        codes = _in_order(_packed(numbers, 2 + numbers.below(60)))
        keys = codes + _packed(numbers, 9)
        blocks_oracle.check_block_of(_separators(numbers, codes), keys)


def test_the_block_of_a_code_is_found_among_separators_as_long_as_codes_can_be():
    codes = [LONGEST + b"A" * 252 + b"%03d" % n for n in range(0, 999, 7)]
    codes += [LONGEST + b"A" * 100 + b"B" * 155, LONGEST + b"B" * 255]
    keys = [code[:-1] + bytes((code[-1] + 1,)) for code in codes] + codes
    keys += [LONGEST[:1] + b"\x7f" + b"A" * 128, LONGEST + b"A" * 255, b"\x01\x00\x00"]
    blocks_oracle.check_block_of([codes[0]] + codes[1:], keys)
    blocks_oracle.check_block_of([], keys)


def test_a_rule_set_begins_behind_those_before_it_or_nowhere():
    for seed in range(40):
        numbers = Numbers(seed)
        sets = [numbers.bytes(numbers.below(20) * numbers.below(14)) for _ in range(seed % 12)]
        for cut in (0, 1, 2, numbers.below(40)):
            blocks_oracle.check_set_start(sets, cut)
    blocks_oracle.check_set_start([b"~" * 255, b"", b"~" * 255], 0)
    blocks_oracle.check_set_start([b"%d" % n for n in range(384)], 0)


def test_rules_in_place_are_found_or_said_to_be_cut():
    for size in (0, 1, 8, 127, 128, 300, 720):
        for room in (1, size, size + 1, size + 2, size + 3, size + 4, size + 9):
            blocks_oracle.check_rules_in_place(b"r" * size, room)


def _own(numbers):
    # Returns the own numbers plus one of 384 rule sets; some have none yet.
    return [0 if not numbers.below(30) else 1 + numbers.below(384) for _ in range(384)]


def test_records_flow_into_blocks_as_they_are_or_stop_where_they_have_to_be_looked_at():
    for seed in range(50):
        numbers = Numbers(seed)
        codes = _packed(numbers, numbers.below(50))
        if seed % 2:
            codes = _in_order(codes)
        records = [(code, _values(numbers)) for code in numbers.shuffled(codes)]
        limit = 380 if seed % 3 else 1020
        step = 1 + numbers.below(64)
        merge_oracle.check_merge_of_records(records, None, limit, step)
        merge_oracle.check_merge_of_records(records, _own(numbers), limit, step)


def test_blocks_are_merged_as_they_are_or_stop_where_they_have_to_be_looked_at():
    for seed in range(50):
        numbers = Numbers(seed)
        sources = []
        for _ in range(numbers.below(6)):
            codes = sorted(_packed(numbers, 1 + numbers.below(25)))
            sources.append([(code, _values(numbers)) for code in codes])
        limit = 380 if seed % 3 else 1020
        step = 1 + numbers.below(64)
        merge_oracle.check_merge_of_blocks(sources, None, limit, step)
        merge_oracle.check_merge_of_blocks(sources, _own(numbers), limit, step)


def test_the_widest_gap_flows_into_a_block_filled_to_any_byte():
    wide = [(LONGEST + bytes((byte,)) * 255, b"\xf0\x05") for byte in (0x21, 0xFE)]
    for filled in range(1, 9):
        records = [(b"\x01\x00" + bytes((n,)), b"\x05") for n in range(filled)] + wide
        used = 2 + len(blocks_oracle.coded(records[:-1]))
        for limit in range(used, used + 12):
            merge_oracle.check_merge_of_records(records, None, limit, 64)
            merge_oracle.check_merge_of_blocks([records[::2], records[1::2]], None, limit, 64)


def test_a_block_that_goes_on_keeps_its_last_code_for_the_next():
    for seed in range(30):
        numbers = Numbers(seed)
        sources = []
        for _ in range(1 + numbers.below(4)):
            codes = sorted(_packed(numbers, 1 + numbers.below(12)))
            sources.append([(code, _values(numbers)) for code in codes])
        merge_oracle.check_merge_of_blocks(sources, _own(numbers), 1020, 64, True)


def test_a_merge_of_rubbish_writes_nowhere_else_and_ends():
    for seed in range(100):
        numbers = Numbers(seed)
        blocks = []
        for _ in range(1 + numbers.below(4)):
            codes = sorted(_packed(numbers, 1 + numbers.below(6)))
            data = bytearray(blocks_oracle.coded([(code, _values(numbers)) for code in codes]))
            for _ in range(numbers.below(4)):
                data[numbers.below(len(data))] ^= 1 + numbers.below(255)
            blocks.append(data + numbers.bytes(numbers.below(9)))
        merge_oracle.check_merge_of_anything(blocks, seed % 2, 700)
