"""The build of the firmware for a board, shared by the tools, the virtual reader and the benches.

`paths` locates the sources, `boards` describes the boards, `sources` has what a device gets
(without public `constants`, with `short_names`), `compiler` compiles it, `rom_image` packs it into
a ROM image. Imports none of the other tools.
"""
