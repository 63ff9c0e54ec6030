"""The build of the firmware for a board, shared by the tools, the virtual reader and the benches.

`paths` locates the sources, `boards` describes the boards, `compiler` compiles the files for a
board, `rom_image` packs them into a ROM image. Imports none of the other tools.
"""
