// The port's own, and the memory of a frozen image.
#include "boards/OLIMEX_ESP32_POE/mpconfigboard.h"
#include "../frozen.h"
