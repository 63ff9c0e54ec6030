"""The oracle of the order of packed codes: `sorted`, and the comparison of bytes.

For the comparisons, the sort and the heap of `sync_native`.
"""

from array import array

from device.blocks_oracle import KEY_ROOM
from kalitka import sync_native

ANY = 0xFFFF  # the shared prefix while there is no code


def shared(one, other):
    """Return the length of the prefix that two packed codes share."""
    same = 0
    while same < len(one) and one[: same + 1] == other[: same + 1]:
        same += 1
    return same


def common_prefix(codes):
    """Return the length of the prefix that all packed codes share."""
    return min([shared(codes[0], code) for code in codes]) if codes else ANY


def records_of(some):
    """Return the bytes and the offsets of records, (packed code, value)."""
    data = b""
    places = []
    for code, value in some:
        places.append(len(data))
        data += code + value
    return data, places


def check_keys(codes, less):
    """Check that keys are in the order of packed codes, or equal.

    less: how many bytes of the prefix that all codes share are not skipped.
    """
    common = max(0, common_prefix(codes) - less)
    keys = [sync_native.key_of(b"\xff" + code + b"\xff" * 4, 1, common) for code in codes]
    for i, one in enumerate(codes):
        assert 0 <= keys[i] < 1 << 30
        for j, other in enumerate(codes):
            if one <= other:
                assert keys[i] <= keys[j], (one, other)
            if one[common : common + 3] != other[common : common + 3]:
                assert keys[i] != keys[j], (one, other)
            assert sync_native.shared(one, 0, b"\xff" + other, 1) == shared(one, other)


def _keys_of(data, places, codes, less):
    # Returns an array for `key_of` by offset, and the prefix to skip: that which all codes share,
    # less `less` bytes.
    common = max(0, common_prefix(codes) - less)
    keys = array("i", [0] * (max(list(places) + [0]) + 1))
    return keys, common


def check_sift(codes, stride, less):
    """Check that a heap built and emptied with `sift` returns packed codes in order.

    stride: bytes from one code to the next; 0: packed without gaps. less: see `check_keys`.
    """
    if stride:
        data = bytearray(stride * len(codes) + KEY_ROOM)
        places = range(len(codes))
        for i, code in enumerate(codes):
            data[i * stride : i * stride + len(code)] = code
    else:
        data, places = records_of([(code, b"\x00") for code in codes])
    heap = array("H", list(places) + [0xA5A5])
    step = stride or 1
    count = len(codes)
    keys, common = _keys_of(data, places, codes, less)
    for place in places:
        keys[place] = sync_native.key_of(data, place * step, common)
    for i in range(count // 2 - 1, -1, -1):
        sync_native.sift(data, heap, keys, count, i, heap[i], step)
    out = []
    while count:
        at = heap[0] * step
        out.append(bytes(data[at : at + data[at + 1] + 3]))
        count -= 1
        if count:
            sync_native.sift(data, heap, keys, count, 0, heap[count], step)
    assert out == sorted(codes), codes
    assert heap[len(codes)] == 0xA5A5


def check_sort(codes, step, less):
    """Check that Shell's sort puts records into code order.

    step: records a step. less: see `check_keys`.
    """
    data, places = records_of([(code, b"\x00") for code in codes])
    offsets = array("H", [0xA5A5] + places + [0xA5A5])
    view = memoryview(offsets)[1:]
    common = max(0, common_prefix(codes) - less)
    for gap in (23, 10, 4, 1):
        for begin in range(gap, len(codes), step):
            end = min(begin + step, len(codes))
            sync_native.sort_step(gap, begin, end, data, view, common)
    assert offsets[0] == offsets[len(codes) + 1] == 0xA5A5
    assert sorted(offsets) == sorted([0xA5A5] + places + [0xA5A5])
    assert [bytes(data[at : at + data[at + 1] + 3]) for at in view[: len(codes)]] == sorted(codes)


def check_order(one, other):
    """Check `compare` of two packed codes in the middle of other bytes."""
    found = sync_native.compare(b"\xff" + one + b"\xff", 1, b"\xff\xff" + other + b"\x00", 2)
    assert (found > 0) - (found < 0) == (one > other) - (one < other), (one, other)
