// The port's own, and the memory of a frozen image.
#include "boards/ESP32_GENERIC_C6/mpconfigboard.h"
#include "../frozen.h"
