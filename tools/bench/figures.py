"""The figures of one program with one table: times, heap, flash, lookups."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Figures:
    """The figures of one program with the answers of one size and order, and a fixed heap.

    end: "" or why the program stopped early; then the later figures are missing.
    syncs: counts of flash operations of `first`, `second`, `again`, `nothing`; one: of a sync that
    changes one code. times: of each run, milliseconds of `first`, `second` and `again`,
    microseconds of a `lookup`. memory: bytes of heap that the open table takes. peaks: of each of
    the two full syncs, its peak heap in bytes over the heap before it and over the program
    without a table. used: bytes of flash. lookup: reads from flash and bytes read. allocation:
    bytes of heap that a lookup leaves behind, and whether it works with the heap locked.
    file_reads: the most reads and bytes of a lookup, with one segment and with two. slices: the
    largest slice of work of each of the two full syncs.
    """

    program: str
    tokens: int
    in_code_order: bool
    heap: str
    end: str = ""
    syncs: dict[str, dict] = field(default_factory=dict)
    one: dict | None = None
    memory: int | None = None
    used: int | None = None
    lookup: dict | None = None
    allocation: dict | None = None
    peaks: list[dict] = field(default_factory=list)
    file_reads: list[dict] = field(default_factory=list)
    slices: list[dict] = field(default_factory=list)
    times: dict[str, list[float]] = field(default_factory=dict)

    def lines_per_second(self, sync: str) -> float | None:
        """Return the median lines per second of a full sync, None if it was not timed."""
        found = self.times.get(sync)
        return self.tokens * 1000 / statistics.median(found) if found else None

    def lookup_micros(self) -> float | None:
        """Return the median microseconds of a lookup, None if it was not timed."""
        found = self.times.get("lookup")
        return statistics.median(found) if found else None

    def programmed_ratio(self, sync: str) -> float | None:
        """Return the bytes that a sync programs over those of its table, None if unknown."""
        if sync not in self.syncs or not self.used:
            return None
        return self.syncs[sync]["programmed"] / self.used

    def writes(self, sync: str) -> int | None:
        """Return the number of a sync's programs and erases, None if the sync did not succeed."""
        counts = self.syncs.get(sync)
        return counts["programs"] + counts["erases"] if counts else None
