"""An incremental change: deletes and new rules, merged with what the table has.

Becomes a new delta of the codes that changed. Deltas that add up are merged.
"""

from kalitka.access import rules
from kalitka.table.segment import Damaged
from kalitka.table.transaction import Transaction, newest
from micropython import const

_DELTAS_MAX = const(4)  # a lookup of an unknown code reads one block of each
_BASE_SHARE = const(4)  # deltas of a quarter of the base's size are merged into it
_SEGMENTS_MAX = const(10)  # with no room to merge them; the manifest can name more
_LOOKUPS = const(4)  # looked up between two chances for others to run: each reads 1 KiB or more


class IncrementalChange(Transaction):
    """A change that is applied to the table."""

    def commit(self, minute: int):
        """Make the change the table's; see Transaction."""
        return self._carry_out(self._steps(minute))

    def _steps(self, minute):
        changes = self._changes()
        try:
            yield from self._apply(changes, minute)
        finally:
            changes.close()

    def _apply(self, changes, minute):
        table = self._table
        first = None
        for first in changes:
            if first is not None:
                break
            yield
        if first is None:
            table.confirm(minute, self.seconds)
            return
        names = table.names()
        name = table.new_name("delta" if names else "base")
        writer = yield from self._write(name, changes, first)
        names.append(name)
        self.changed = writer.codes + writer.tombstones
        if len(names) > 1 + _DELTAS_MAX:
            try:
                names = yield from self._compact(names)
            except Damaged:
                raise
            except OSError:
                # No room, most likely. Deletes must not wait for it.
                if len(names) > _SEGMENTS_MAX:
                    raise
        table.install(names, minute, self.seconds)

    def _compact(self, names):
        # Merges the deltas into one, or, once they add up, all of it into a new base.
        table = self._table
        segments = [table.open_segment(name) for name in reversed(names)]
        try:
            base = segments[-1]
            deltas = sum(segment.size for segment in segments) - base.size
            if deltas * _BASE_SHARE >= base.size:
                name = table.new_name("base")
                live = (entry if entry[1] is not None else None for entry in newest(segments))
                yield from self._write(name, live)
                return [name]
            name = table.new_name("delta")
            yield from self._write(name, newest(segments[:-1]))
            return [names[0], name]
        finally:
            for segment in segments:
                segment.close()

    def _changes(self):
        # Yields (key, new rule set or None) of the codes whose state becomes another, and None
        # where others may run: an answer may repeat thousands of codes and change none.
        groups = self._groups(self._runs.sorted())
        try:
            for count, (key, deleted, added) in enumerate(groups):
                old = self._table.lookup_packed(key)
                new = self._sum(None if deleted else old, added)
                if new != old:
                    yield key, new
                elif count % _LOOKUPS == _LOOKUPS - 1:
                    yield None
        finally:
            groups.close()

    def _sum(self, kept, added):
        # The rule set of a code that keeps one (None: nothing) and gets another.
        if not kept or added is None:
            return kept if added is None else added
        total = b""
        for rule in rules.split(rules.join(rules.split(kept) + rules.split(added))):
            total = self._append(total, rule)
        return total
