"""Builds the firmware for a board: what the tools, the virtual reader and the benches all need.

`paths` says where the sources are, `boards` describes the boards, `compiler` makes the files for
one, `rom_image` packs them into a ROM image. Imports nothing of the other tools.
"""
