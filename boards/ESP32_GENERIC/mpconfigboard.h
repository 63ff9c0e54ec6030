// The port's own, and the memory of a frozen image.
#include "boards/ESP32_GENERIC/mpconfigboard.h"
#include "../frozen.h"
