"""The ROM image of the firmware: what a chip executes in place, out of memory-mapped flash.

MicroPython calls it ROMFS: a read-only file system in a flash partition named `romfs`, mounted at
/rom. Bytecode imported from there stays there; out of a LittleFS it is copied into the heap.
"""

from mpremote.romfs import VfsRomWriter

PACKAGE = "lib/kalitka/"  # what goes into it; the rest is found by MicroPython or edited by hand
# Bytes of the partition: twice the image and more, and the file system keeps what the largest
# table needs.
PARTITION_SIZE = 256 * 1024


def split_package(files: dict[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """Return the ROM image of the package, and the files that stay in the file system.

    files: {path on the device: contents}; whether its paths begin with / makes no difference.
    """
    package = {path: data for path, data in files.items() if path.lstrip("/").startswith(PACKAGE)}
    rest = {path: data for path, data in files.items() if path not in package}
    return build_image(package), rest


def build_image(files: dict[str, bytes]) -> bytes:
    """Return the ROM image that holds `files` ({path: contents})."""
    tree: dict = {}
    for path, data in sorted(files.items()):
        *folders, name = path.lstrip("/").split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = data
    writer = VfsRomWriter()
    _add_tree(writer, tree)
    return writer.finalise()


def _add_tree(writer: VfsRomWriter, tree: dict) -> None:
    for name, entry in tree.items():
        if isinstance(entry, dict):
            writer.opendir(name)
            _add_tree(writer, entry)
            writer.closedir()
        else:
            writer.mkfile(name, entry)
