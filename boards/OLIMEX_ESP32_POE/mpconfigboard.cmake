# make -C micropython/ports/esp32 BOARD_DIR=/path/to/kalitka/boards/OLIMEX_ESP32_POE
include(boards/OLIMEX_ESP32_POE/mpconfigboard.cmake)
include(${MICROPY_BOARD_DIR}/../frozen.cmake)
