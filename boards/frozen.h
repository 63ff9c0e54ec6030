// Memory of the frozen images, for chips without PSRAM. Python and the IDF (radio, TLS, lwIP) share
// the chip's memory: the heap has a fixed size, and the IDF has the rest. boards/README.md has the
// arithmetic.

#define MICROPY_GC_INITIAL_HEAP_SIZE (80 * 1024)

// The heap never grows: growth would take the IDF's largest piece, which TLS needs. The port's
// mpconfigport.h sets MICROPY_GC_SPLIT_HEAP_AUTO after this file, whatever is set here, so growth
// is refused where it allocates: once there is a heap, no other is allocated.
#define MP_PLAT_ALLOC_HEAP(size) (MP_STATE_MEM(area).gc_alloc_table_start ? NULL : malloc(size))

#define MICROPY_PY_BLUETOOTH (0)
