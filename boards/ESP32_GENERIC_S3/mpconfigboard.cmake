# make -C micropython/ports/esp32 BOARD_DIR=/path/to/kalitka/boards/ESP32_GENERIC_S3
include(boards/ESP32_GENERIC_S3/mpconfigboard.cmake)
include(${MICROPY_BOARD_DIR}/../frozen.cmake)
