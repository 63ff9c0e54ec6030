"""The virtual reader: the unmodified firmware in real MicroPython, with fakes at its pins.

`chip/` runs in MicroPython and plays the ESP32; the rest runs in CPython and plays the world
around it: cards, power, network and time.
"""
