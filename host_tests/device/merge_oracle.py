"""The oracle of merges: a list of entries, sorted. For `merge`, `sift` and `key_of`.

The firmware's streams and its writer of blocks drive the merge, in buffers between guards.
"""

from array import array
from binascii import crc32
from io import BytesIO

from device.blocks_oracle import (
    END,
    KEY_ROOM,
    GuardedWriter,
    coded,
    decoded,
    end_of_value,
    number_of,
    value_of,
)
from device.order_oracle import common_prefix, records_of
from kalitka import sync_native
from kalitka.table.block import CHECK, CorruptionError
from kalitka.table.merge import Merge
from kalitka.table.sorter import Sorted

_GAP = 300  # bytes between the blocks of two sources


class _Merging:
    # A stream that is merged into blocks of `limit` bytes, `step` entries a call. own: by rule
    # set, its number in the written blocks plus one, 0 for none yet; None to copy values.

    def __init__(self, stream, own, limit, step):
        self._stream = stream
        self._own = None if own is None else array("H", own)
        self._limit = limit
        self._step = step
        self._writer = GuardedWriter(limit)
        self._writer.assigned = max(own or [0])
        self.blocks = []  # the bytes of entries of each written block
        self.by_hand = []  # (packed code, value) that the merge left

    def run(self):
        """Merge the whole stream."""
        stream = self._stream
        writer = self._writer
        while stream.at >= 0:
            added = writer.extend(stream, self._own, self._step)
            writer.entries()
            assert 0 <= added <= self._step
            if writer.stopped == sync_native.FULL:
                assert self._end_block(), "an empty block is full"
                least = self._least()
                following = coded(decoded(self.blocks[-1])[0] + [self._renumbered(least)])
                assert len(following) > self._limit - 2, "another entry would have fitted"
            elif writer.stopped > 0:
                self._take_by_hand()
            else:
                assert added == self._step or stream.at < 0 or writer.stopped
        self._end_block()

    def check(self, entries, kept=()):
        """Check that all entries were merged; those of the codes in `kept` only by hand."""
        written = [entry for block in self.blocks for entry in _entries_of(block)]
        if self._own is None:
            codes = [code for code, _ in written]
            assert codes == sorted(codes) and sorted(written) == sorted(entries)
            assert not self.by_hand
            return
        left = list(self.by_hand)
        expected = []
        for entry in sorted(entries):
            if entry in left:
                left.remove(entry)
            else:
                expected.append(self._renumbered(entry))
        assert not left
        assert written == expected, (written, expected)
        # An entry was left because its code comes again, or may, or its set has no place in `own`.
        codes = [code for code, _ in entries]
        for code, value in self.by_hand:
            again = codes.count(code) > 1 or code in kept
            assert again or number_of(value) >= len(self._own), code
        for code, _ in written:
            assert codes.count(code) == 1 and code not in kept, code

    def check_numbers(self, before):
        """Check that sets without a number got the next numbers, each a different one."""
        after = list(self._own)
        new = sorted(after[i] for i in range(len(after)) if after[i] != before[i])
        assert new == list(range(max(before) + 1, self._writer.assigned + 1)), (before, after)
        assert all(after[i] == before[i] for i in range(len(after)) if before[i])

    def _end_block(self):
        block = self._writer.entries()
        self._writer.finish(False)
        if block:
            self.blocks.append(block)
        return block

    def _least(self):
        stream = self._stream
        buf = stream.buf
        code = bytes(buf[stream.at : stream.at + buf[stream.at + 1] + 3])
        return code, bytes(buf[stream.value : end_of_value(buf, stream.value)])

    def _take_by_hand(self):
        code = self._least()[0]
        while self._stream.at >= 0 and self._least()[0] == code:
            self.by_hand.append(self._least())
            self._stream.next()

    def _renumbered(self, entry):
        code, value = entry
        number = number_of(value)
        if self._own is None or number < 0:
            return entry
        return code, value_of(self._own[number] - 1)


def _entries_of(block):
    entries, end = decoded(block)
    assert end == END
    return entries


class _Blocks:
    # Sources of one block each, and the buffer of their merge, with a gap behind each block. flag:
    # of the high byte of each block's size.

    def __init__(self, blocks, flag=0):
        self._whole = []
        for block in blocks:
            data = bytes((len(block) % 256, len(block) // 256 | flag)) + block
            self._whole.append(data + crc32(data).to_bytes(CHECK, "little"))
        self._room = max([len(whole) for whole in self._whole] + [0]) + _GAP
        self._stride = KEY_ROOM + self._room
        self._buf = bytearray(b"\x5a" * (self._stride * len(blocks)))

    def stream(self, common):
        """Return the merge of the sources. Raises CorruptionError."""
        return Merge(len(self._whole), self._source, self._buf, KEY_ROOM, self._room, common)

    def _source(self, i):
        whole = self._whole[i]
        return BytesIO(whole), "block", 0, len(whole), len(whole)

    def check_only_codes_written(self):
        """Check that nothing but the room for codes was written to."""
        for i, whole in enumerate(self._whole):
            begin = i * self._stride + KEY_ROOM
            kept = whole + b"\x5a" * (self._stride - KEY_ROOM - len(whole))
            assert memoryview(self._buf)[begin : begin + len(kept)] == kept


def check_merge_of_records(records, own, limit, step):
    """Check that records (packed code, value) are merged into blocks in code order.

    own: by rule set, its number in the written blocks plus one, 0 for none yet; None to copy
    values unchanged. limit: bytes of a block. step: entries a call.
    """
    buf, places = records_of(sorted(records))
    common = common_prefix([code for code, _ in records])
    merging = _Merging(Sorted(buf, array("H", places), len(places), common), own, limit, step)
    merging.run()
    merging.check(records)
    if own:
        merging.check_numbers(own)


def check_merge_of_blocks(sources, own, limit, step, goes_on=False):
    """Check that blocks are merged into blocks; as `check_merge_of_records`.

    sources: lists of (packed code, value) in code order. goes_on: whether the blocks are flagged
    as continued: their last code is also the first of the next block.
    """
    entries = [entry for source in sources for entry in source]
    common = common_prefix([code for code, _ in entries])
    flag = sync_native.CONTINUED if goes_on else 0
    blocks = _Blocks([coded(source) for source in sources], flag)
    merging = _Merging(blocks.stream(common), own, limit, step)
    merging.run()
    blocks.check_only_codes_written()
    merging.check(entries, [source[-1][0] for source in sources if source and goes_on])
    if own:
        merging.check_numbers(own)


class _Rubbish(_Merging):
    # Entries may come in any order, or in a form that no writer makes.

    def run(self):
        stream = self._stream
        while stream.at >= 0:
            self._writer.extend(stream, self._own, self._step)
            self._writer.entries()
            if self._writer.stopped == sync_native.FULL:
                self._writer.finish(False)
            elif self._writer.stopped > 0:
                stream.next()


def check_merge_of_anything(data, verbatim, limit):
    """Check that a merge of blocks of arbitrary bytes ends and writes only where it may."""
    # A merge raises as soon as a source has no first entry: such sources are left out.
    blocks = _Blocks([block for block in map(bytes, data) if decoded(block)[0]])
    try:
        _Rubbish(blocks.stream(0), None if verbatim else [1] * 300, limit, 7).run()
    except CorruptionError:
        pass
    blocks.check_only_codes_written()
