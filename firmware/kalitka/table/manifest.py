"""The manifest: the small file that names the segments of the table.

Text, for people to read; replaced by an atomic rename, so that after a power cut the table is the
old one or the new one. FORMAT.md has its lines. Leaves the segments themselves to `table`.
"""

import os
from binascii import crc32

from kalitka.table.block import CorruptionError
from micropython import const

# Names and words in flash (FORMAT.md): do not change.
NAME = "manifest"
_NEW = const("manifest.new")
_TITLE = const("kalitka table 1")
_SIZE_MAX = const(1024)  # bytes; sixteen segments would fit


class Manifest:
    """The state of the table: its segments, their minute, and the facts about their rules.

    minute: the server's minute that the rules belong to, 0 for none.
    generation: the highest segment number used; never goes back.
    seconds: whether the server has sent day times in seconds.
    origin: a number that identifies the server and reader the rules came from.
    segments: file names, oldest (the base) first.
    sums: of all codes with their rules, a list of three, or None if unknown; see FORMAT.md.
    """

    def __init__(
        self,
        minute: int = 0,
        generation: int = 0,
        seconds: bool = False,
        origin: int = 0,
        segments: tuple = (),
        sums: list | None = None,
    ):
        self.minute = minute
        self.generation = generation
        self.seconds = seconds
        self.origin = origin
        self.segments = segments
        self.sums = sums if segments else [0, 0, 0]

    def save(self, folder: str) -> None:
        """Replace the folder's manifest: the commit of a transaction. Raises OSError."""
        lines = [
            _TITLE,
            "minute %d" % self.minute,
            "generation %d" % self.generation,
            "unit %s" % ("second" if self.seconds else "minute"),
            "origin %d" % self.origin,
        ]
        if self.sums:
            lines.append("sums %d %d %d" % tuple(self.sums))
        for name in self.segments:
            lines.append("segment %s" % name)
        text = "\n".join(lines) + "\n"
        data = (text + "check %08x\n" % crc32(text.encode())).encode()
        path = folder + "/" + _NEW
        try:
            with open(path, "wb") as file:
                file.write(data)
            # The commit (FORMAT.md, Changing, step 6): until LittleFS has done this rename, the
            # table is the old one, afterwards the new one.
            os.rename(path, folder + "/" + NAME)
        except OSError as e:
            # The rename may have reached the flash although a failure is reported. Then this is
            # the manifest: a table that kept the old one would remove the files that it names.
            try:
                with open(folder + "/" + NAME, "rb") as file:
                    if file.read(_SIZE_MAX) == data:
                        return
            except OSError:
                pass
            raise e


def load(folder: str) -> Manifest:
    """Read the folder's manifest. Raises CorruptionError, or OSError if there is none."""
    with open(folder + "/" + NAME, "rb") as file:
        data = file.read(_SIZE_MAX)
    cut = data.rfind(b"check ")
    if cut < 0 or data[cut:] != b"check %08x\n" % crc32(data[:cut]):
        raise CorruptionError("the manifest has a wrong checksum")
    fields = {}
    segments = []
    try:
        lines = data[:cut].decode().split("\n")
        if lines[0] != _TITLE:
            raise CorruptionError("the manifest is of another version: %s" % lines[0])
        for line in lines[1:-1]:
            name, value = line.split(" ", 1)
            if name == "segment":
                segments.append(value)
            else:
                fields[name] = value
        # A manifest of an earlier firmware has no sums.
        sums = [int(one) for one in fields["sums"].split()] if "sums" in fields else None
        return Manifest(
            int(fields["minute"]),
            int(fields["generation"]),
            fields["unit"] == "second",
            int(fields["origin"]),
            tuple(segments),
            sums,
        )
    except (KeyError, ValueError):
        raise CorruptionError("the manifest has a wrong line")
