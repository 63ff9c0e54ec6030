"""The ROM image of the firmware, which a chip executes in place from memory-mapped flash.

MicroPython calls it ROMFS: a read-only file system in a flash partition named `romfs`, mounted at
/rom. Bytecode imported from there stays in flash; from a LittleFS it is copied into the heap.
"""

from mpremote.romfs import VfsRomWriter

PACKAGE = "lib/kalitka/"  # goes into the image; MicroPython starts the rest, or people edit it
# Bytes of the partition: more than twice the image, and it leaves the file system the space that
# the largest table needs.
PARTITION_SIZE = 256 * 1024


def split_package(files: dict[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """Return (the ROM image of the package, the files that stay in the file system).

    files: {path on the device: contents}, with or without a leading /.
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
