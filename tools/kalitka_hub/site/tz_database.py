"""The zone database of the package `tzdata`, independent of the machine's own files."""

from functools import cache
from importlib.resources import files


@cache
def names() -> frozenset[str]:
    """Return the IANA names of all zones, including links such as `Europe/Kiev`."""
    return frozenset(files("tzdata").joinpath("zones").read_text().split())


def read(name: str) -> bytes:
    """Return the TZif file of a zone in `names`."""
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def string_of(data: bytes) -> str:
    """Return the POSIX TZ string at the end of a TZif file: for the time after its transitions."""
    return data.rsplit(b"\n", 2)[1].decode()
