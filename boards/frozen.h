// Memory of the frozen images, for chips without PSRAM. Python and the IDF (radio, TLS, lwIP) share
// what the chip has: the heap is given its size once, and the IDF the rest. boards/README.md has
// the arithmetic.

#define MICROPY_GC_INITIAL_HEAP_SIZE (80 * 1024)

// The heap never grows: that would take the largest piece that the IDF has, which TLS wants. The
// port's mpconfigport.h sets MICROPY_GC_SPLIT_HEAP_AUTO itself, after this file and whatever it
// says, so that growth is refused where it asks for memory: once there is a heap, there is no other.
#define MP_PLAT_ALLOC_HEAP(size) (MP_STATE_MEM(area).gc_alloc_table_start ? NULL : malloc(size))

#define MICROPY_PY_BLUETOOTH (0)
