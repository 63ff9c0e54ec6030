"""Packing of rules from text to bytes, and of rule sets; see `access.rules` for the bytes.

Needed to fill a table, not to decide.
"""

from kalitka import native
from kalitka.access import rules
from kalitka.table import codes
from micropython import const

_RULE_MAX = const(18)  # bytes of a packed rule: kind, mask, varints of 3, 3, 5 and 5 bytes

# The faults of the native code in words: at -n for the result n of `native.pack_code`,
# `native.pack_rule` and `sync_native.pack_lines`.
FAULTS = codes.FAULTS + (
    "no _/ in line",
    "rule longer than 64 bytes",
    "unknown kind of rule",
    "wrong number of fields in rule",
    "bad number in rule",
    "number of more than ten digits",
    "day time beyond the day",
    "week mask is not seven digits 0 or 1",
    "from is after to",
    "rule 9 is neither 9_0 nor 9_1",
)


def pack(text: bytes | bytearray) -> bytes:
    """Return the packed form of one rule text (bytes, such as b"3_480_1200_1111100").

    The slash before a rule in a sync answer is not part of the text. Raises RuleError for the
    first fault in the text; its message is one of FAULTS, by which faults are counted.
    """
    out = bytearray(_RULE_MAX)
    end = native.pack_rule(text, 0, len(text), out, 0)
    if end < 0:
        raise rules.RuleError(FAULTS[-end])
    return bytes(out[: end & ~native.SECONDS])


def split(rule_set: bytes | bytearray) -> list[bytes]:
    """Return the packed rules of a rule set, as a list of bytes."""
    found = []
    at = 0
    while at < len(rule_set):
        end = rules.end_of(rule_set, at)
        found.append(bytes(rule_set[at:end]))
        at = end
    return found


def insert(rule_set: bytes, packed: bytes) -> bytes:
    """Return the rule set (bytes) with one more packed rule, in byte order, each rule once.

    The empty rule b"" adds nothing.
    """
    at = 0
    while at < len(rule_set) and packed:
        end = rules.end_of(rule_set, at)
        rule = rule_set[at:end]
        if rule == packed:
            return rule_set
        if rule > packed:
            break
        at = end
    return rule_set[:at] + packed + rule_set[at:]


def needs_seconds(packed: bytes) -> bool:
    """Return whether this packed rule's day times must be seconds: one of them is above 1440."""
    if packed[0] not in (3, 7):
        return False
    end = rules.number_at(packed, rules.skip_varint(packed, 1))
    return max(rules.number_at(packed, 1), end) > rules.DAY_MINUTES
