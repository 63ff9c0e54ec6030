"""The firmware's sources as a device gets them: what is compiled here, and frozen into an image.

Needs nothing but Python's own library, since the build of an image runs it, too.
"""

from pathlib import Path

from kalitka_build.constants import inline
from kalitka_build.paths import FIRMWARE, ROOT
from kalitka_build.short_names import shorten

GUARD = "guard.py"  # beside boot.py, which imports it by name
_WRITTEN = ROOT / "build" / "firmware"


def firmware_sources(short_names: bool = True) -> dict[str, str]:
    """Return what is compiled, {path below firmware/: source}.

    short_names: as a device gets it; without, as it was written.
    """
    # Leave out empty __init__.py files: MicroPython imports a folder without one, and an empty
    # module would only take memory.
    paths = [s for s in sorted((FIRMWARE / "kalitka").rglob("*.py")) if s.stat().st_size]
    paths.append(FIRMWARE / GUARD)
    sources = {path.relative_to(FIRMWARE).as_posix(): path.read_text() for path in paths}
    if not short_names:
        return sources
    others = [(FIRMWARE / name).read_text() for name in ("boot.py", "main.py")]
    return shorten(inline(sources, others), others)


def write_sources(folder: Path = _WRITTEN) -> str:
    """Write what a device gets into `folder`, and return its path; boards/manifest.py freezes it.

    A file that is the same already is not written, so a build does not compile it again.
    """
    sources = firmware_sources()
    for path in [path for path in folder.rglob("*.py") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in sources:
            path.unlink()
    for name, text in sources.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return str(folder)
