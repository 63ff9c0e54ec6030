// The port's own, and the memory of a frozen image.
#include "boards/ESP32_GENERIC_S3/mpconfigboard.h"
#include "../frozen.h"
