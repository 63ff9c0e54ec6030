"""`sys` of the virtual chip: the platform is an ESP32."""

from collections import namedtuple
from sys import (
    byteorder,
    exit,
    maxsize,
    modules,
    path,
    print_exception,
    stderr,
    stdin,
    stdout,
    version,
    version_info,
)
from sys import implementation as _real

import idf

platform = "esp32"
implementation = namedtuple("implementation", ("name", "version", "_machine", "_mpy", "_build"))(
    _real.name, _real.version, idf.machine, _real._mpy, idf.build
)
