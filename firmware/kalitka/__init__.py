"""Kalitka: the firmware of an offline token reader (ESP32, MicroPython 1.24 and later).

Who knows whom: `access` and `sync.answer` are pure; `table` knows files; `sync` knows the
server; `hardware` and `system` know the chip; only `app` knows them all.
"""

VERSION = "0.1.0"
