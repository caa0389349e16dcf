/* Test equipment: a double of the CUDA driver over host memory, so that the real pycuda runs where there is no GPU.
 *
 * It computes nothing of its own and no figure from it says anything about a GPU. What it is strict about:
 *   - work queued on a stream runs only when something waits for that stream, so a forgotten wait shows as wrong data;
 *   - fresh memory and freed memory hold 0xFF in every byte (NaN as a float, white as a pixel);
 *   - every address range is checked against what was allocated, when it is queued and again when it runs;
 *   - contexts are current per thread, only primary contexts exist, and everything but the device queries needs one;
 *   - the memory is of a size that tests set, every object is counted, any entry point can be told to fail;
 *   - after a fork nothing works in the child.
 * A launched "kernel" is a host function (cuLaunchHostFunc); the stage double in Python runs ONNX Runtime in it.
 *
 * The mutex is released around host functions, and the Python interpreter's lock while one thread waits for another.
 */
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define DEVICES 4
#define DEPTH 64

typedef struct Context { int device, retains; size_t used; CUresult error; } Context;
typedef struct Block { struct Block *next; uintptr_t base; size_t size; int device_memory; Context *context; } Block;
typedef struct Op Op;
/* `queued` and `done` count operations; a stream is done up to an operation when `done` has reached its number.
 * Streams are never freed: events may outlive them. */
typedef struct CUstream_st {
    struct CUstream_st *next; Context *context; int live, running;
    Op *first, **last; long queued, done;
} Stream;
typedef struct CUevent_st {
    struct CUevent_st *next; Context *context; unsigned flags; int live, uses, recorded; Stream *stream; long number; double ms;
} Event;
struct Op {
    Op *next; enum { COPY, CALL, RECORD } kind;
    uintptr_t to, from; size_t size; int known; CUhostFn call; void *data; Event *event;
};

enum { DEVICE_BLOCKS, DEVICE_BYTES, PINNED_BLOCKS, STREAMS, EVENTS, RETAINS, ALLOCATIONS, TO_DEVICE, TO_HOST,
       PAGEABLE, CALLS, SYNCHRONISATIONS, CONTEXTS_MADE, COUNTERS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counters[COUNTERS];
static Context contexts[DEVICES];
static Block *blocks;
static Stream *streams;
static Event *events;
static size_t memory = (size_t)1 << 30;
static int devices = 1, capability = 86, initialised;
static CUresult init_result = CUDA_SUCCESS;
static pid_t process;
static struct { char entry[64]; CUresult result; int after; } failures[8];
static __thread Context *stack[DEPTH];
static __thread int depth;

/* -- the rules that every entry point keeps ---------------------------------------------------------------------- */

static CUresult injected(const char *entry) {
    for (int i = 0; i < 8; i++)
        if (failures[i].entry[0] && !strcmp(failures[i].entry, entry)) {
            if (failures[i].after-- > 0) continue;
            failures[i].entry[0] = 0;
            return failures[i].result;
        }
    return CUDA_SUCCESS;
}
static Context *current(void) { return depth ? stack[depth - 1] : NULL; }

/* Enter with the lock held; leave with LEAVE. `needs` says whether a current context is needed. */
static CUresult enter(const char *entry, int needs) {
    if (initialised && getpid() != process) return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&lock);
    CUresult result = injected(entry);
    if (result == CUDA_SUCCESS && !initialised) result = CUDA_ERROR_NOT_INITIALIZED;
    if (result == CUDA_SUCCESS && needs) {
        Context *context = current();
        if (!context || context->retains == 0) result = CUDA_ERROR_INVALID_CONTEXT;
        else if (context->error) result = context->error;
    }
    if (result != CUDA_SUCCESS) pthread_mutex_unlock(&lock);
    return result;
}
#define ENTER(needs) do { CUresult entered = enter(__func__, needs); if (entered != CUDA_SUCCESS) return entered; } while (0)
#define LEAVE(result) do { CUresult left = (result); pthread_mutex_unlock(&lock); return left; } while (0)
#define REQUIRE(condition, result) do { if (!(condition)) LEAVE(result); } while (0)

/* Wait for another thread; gives the interpreter's lock away meanwhile, since that thread may be about to run Python. */
static void wait_for_change(void) {
    static int (*holds)(void); static void *(*save)(void); static void (*restore)(void *); static int known;
    if (!known) {
        known = 1;
        *(void **)&holds = dlsym(RTLD_DEFAULT, "PyGILState_Check");
        *(void **)&save = dlsym(RTLD_DEFAULT, "PyEval_SaveThread");
        *(void **)&restore = dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
    }
    void *state = holds && holds() ? save() : NULL;
    pthread_cond_wait(&changed, &lock);
    if (state) { pthread_mutex_unlock(&lock); restore(state); pthread_mutex_lock(&lock); }
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

static Block *block_of(uintptr_t address) {
    for (Block *b = blocks; b; b = b->next) if (address >= b->base && address < b->base + b->size) return b;
    return NULL;
}
static int on_device(uintptr_t address, size_t size) {
    Block *b = block_of(address);
    return b && b->device_memory && size <= b->base + b->size - address;
}
/* Host memory: inside one pinned block, or memory that this driver does not know (pageable), never device memory. */
static int on_host(uintptr_t address, size_t size) {
    Block *b = block_of(address);
    if (b) return !b->device_memory && size <= b->base + b->size - address;
    return address != 0;
}
static CUresult allocate(size_t size, int device_memory, uintptr_t *address) {
    Context *context = current();
    if (size == 0) return CUDA_ERROR_INVALID_VALUE;
    if (device_memory && context->used + size > memory) return CUDA_ERROR_OUT_OF_MEMORY;
    Block *b = malloc(sizeof *b);
    void *space = NULL;
    if (!b || posix_memalign(&space, 512, size)) { free(b); return CUDA_ERROR_OUT_OF_MEMORY; }
    memset(space, 0xFF, size);
    *b = (Block){blocks, (uintptr_t)space, size, device_memory, context};
    blocks = b;
    counters[ALLOCATIONS]++;
    if (device_memory) { context->used += size; counters[DEVICE_BLOCKS]++; counters[DEVICE_BYTES] += (long)size; }
    else counters[PINNED_BLOCKS]++;
    *address = b->base;
    return CUDA_SUCCESS;
}
static CUresult release(uintptr_t address, int device_memory) {
    for (Block **at = &blocks; *at; at = &(*at)->next) {
        Block *b = *at;
        if (b->base != address || b->device_memory != device_memory) continue;
        *at = b->next;
        if (device_memory) { b->context->used -= b->size; counters[DEVICE_BLOCKS]--; counters[DEVICE_BYTES] -= (long)b->size; }
        else counters[PINNED_BLOCKS]--;
        memset((void *)b->base, 0xFF, b->size);
        free((void *)b->base);
        free(b);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* -- streams ----------------------------------------------------------------------------------------------------- */

static double now_ms(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return 1e3 * t.tv_sec + 1e-6 * t.tv_nsec; }
static void drop_event(Event *e) {
    if (e->live || e->uses) return;
    for (Event **at = &events; *at; at = &(*at)->next) if (*at == e) { *at = e->next; break; }
    free(e);
}
static void run_op(Stream *s, Op *op) {
    Context *context = s->context;
    if (context->error) return;
    switch (op->kind) {
    case COPY:
        if ((block_of(op->to) && !on_device(op->to, op->size) && !on_host(op->to, op->size)) ||
            (block_of(op->from) && !on_device(op->from, op->size) && !on_host(op->from, op->size)) ||
            (op->known & 1 && !block_of(op->to)) || (op->known & 2 && !block_of(op->from)))
            context->error = CUDA_ERROR_ILLEGAL_ADDRESS;  /* freed since it was queued */
        else memmove((void *)op->to, (void *)op->from, op->size);
        break;
    case CALL: {
        CUresult result = injected("execute");
        if (result != CUDA_SUCCESS) { context->error = result; break; }
        pthread_mutex_unlock(&lock);
        op->call(op->data);
        pthread_mutex_lock(&lock);
        break;
    }
    default:
        op->event->ms = now_ms();
    }
}
static void drain(Stream *s, long number) {
    while (s->done < number) {
        if (s->running) { wait_for_change(); continue; }
        Op *op = s->first;
        s->first = op->next;
        if (!s->first) s->last = &s->first;
        s->running = 1;
        run_op(s, op);
        s->running = 0;
        s->done++;
        if (op->event) { op->event->uses--; drop_event(op->event); }
        free(op);
        pthread_cond_broadcast(&changed);
    }
}
static void drain_context(Context *context) {
    for (Stream *s = streams; s; s = s->next)
        if (s->context == context) drain(s, s->queued);
}
static Stream *stream_of(CUstream handle) {
    for (Stream *s = streams; s; s = s->next) if (s == handle) return s->live && s->context == current() ? s : NULL;
    return NULL;
}
static Event *event_of(CUevent handle) {
    for (Event *e = events; e; e = e->next) if (e == handle) return e->live && e->context == current() ? e : NULL;
    return NULL;
}
static CUresult push(Stream *s, Op op) {
    Op *copy = malloc(sizeof *copy);
    *copy = op;
    copy->next = NULL;
    if (copy->event) copy->event->uses++;
    *s->last = copy; s->last = &copy->next;
    s->queued++;
    return CUDA_SUCCESS;
}
static CUresult copy_async(CUstream handle, uintptr_t to, uintptr_t from, size_t size, int to_device) {
    Stream *s = stream_of(handle);
    if (!s) return CUDA_ERROR_INVALID_HANDLE;
    if (!(to_device ? on_device(to, size) && on_host(from, size) : on_host(to, size) && on_device(from, size)))
        return CUDA_ERROR_INVALID_VALUE;
    /* which ends were known blocks, so that one freed before the copy runs is noticed */
    int known = (block_of(to) ? 1 : 0) | (block_of(from) ? 2 : 0);
    counters[PAGEABLE] += known != 3;
    counters[to_device ? TO_DEVICE : TO_HOST]++;
    return push(s, (Op){.kind = COPY, .to = to, .from = from, .size = size, .known = known});
}

/* -- entry points: driver and device ------------------------------------------------------------------------------ */

EXPORT CUresult CUDAAPI cuInit(unsigned int flags) {
    pthread_mutex_lock(&lock);
    REQUIRE(!initialised || getpid() == process, CUDA_ERROR_NOT_INITIALIZED);
    REQUIRE(flags == 0, CUDA_ERROR_INVALID_VALUE);
    REQUIRE(init_result == CUDA_SUCCESS, init_result);
    REQUIRE(devices > 0, CUDA_ERROR_NO_DEVICE);
    if (!initialised)
        for (int i = 0; i < DEVICES; i++) contexts[i].device = i;
    initialised = 1; process = getpid();
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuDriverGetVersion(int *version) { *version = 13000; return CUDA_SUCCESS; }
EXPORT CUresult CUDAAPI cuGetErrorString(CUresult error, const char **text) {
    switch ((int)error) {
    case CUDA_SUCCESS: *text = "no error"; break;
    case CUDA_ERROR_INVALID_VALUE: *text = "invalid argument"; break;
    case CUDA_ERROR_OUT_OF_MEMORY: *text = "out of memory"; break;
    case CUDA_ERROR_NOT_INITIALIZED: *text = "initialization error"; break;
    case CUDA_ERROR_NO_DEVICE: *text = "no CUDA-capable device is detected"; break;
    case CUDA_ERROR_INVALID_DEVICE: *text = "invalid device ordinal"; break;
    case CUDA_ERROR_INVALID_CONTEXT: *text = "invalid device context"; break;
    case CUDA_ERROR_INVALID_HANDLE: *text = "invalid resource handle"; break;
    case CUDA_ERROR_NOT_READY: *text = "device not ready"; break;
    case CUDA_ERROR_ILLEGAL_ADDRESS: *text = "an illegal memory access was encountered"; break;
    case CUDA_ERROR_LAUNCH_FAILED: *text = "unspecified launch failure"; break;
    case CUDA_ERROR_NOT_SUPPORTED: *text = "operation not supported (driver double)"; break;
    default: *text = "unknown error (driver double)";
    }
    return CUDA_SUCCESS;
}
EXPORT CUresult CUDAAPI cuDeviceGetCount(int *count) { ENTER(0); *count = devices; LEAVE(CUDA_SUCCESS); }
EXPORT CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) {
    ENTER(0); REQUIRE(ordinal >= 0 && ordinal < devices, CUDA_ERROR_INVALID_DEVICE); *device = ordinal; LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuDeviceGetName(char *name, int size, CUdevice device) {
    (void)device; snprintf(name, (size_t)size, "CUDA driver double (no GPU)"); return CUDA_SUCCESS;
}
EXPORT CUresult CUDAAPI cuDeviceGetPCIBusId(char *name, int size, CUdevice device) {
    snprintf(name, (size_t)size, "0000:%02x:00.0", device); return CUDA_SUCCESS;
}
EXPORT CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice device) { (void)device; *bytes = memory; return CUDA_SUCCESS; }
EXPORT CUresult CUDAAPI cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    (void)device; *major = capability / 10; *minor = capability % 10; return CUDA_SUCCESS;
}
EXPORT CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    (void)device;
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? capability / 10
             : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? capability % 10
                                                                         : 1;
    return CUDA_SUCCESS;
}

/* -- contexts ---------------------------------------------------------------------------------------------------- */

EXPORT CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    ENTER(0); REQUIRE(device >= 0 && device < devices, CUDA_ERROR_INVALID_DEVICE);
    contexts[device].retains++; counters[RETAINS]++;
    *context = (CUcontext)&contexts[device];
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
    ENTER(0); REQUIRE(device >= 0 && device < devices && contexts[device].retains > 0, CUDA_ERROR_INVALID_CONTEXT);
    contexts[device].retains--; counters[RETAINS]--;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    ENTER(0); *flags = 0; *active = contexts[device].retains > 0; LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuCtxPushCurrent(CUcontext context) {
    ENTER(0); REQUIRE(context, CUDA_ERROR_INVALID_CONTEXT); REQUIRE(depth < DEPTH, CUDA_ERROR_INVALID_VALUE);
    stack[depth++] = (Context *)context;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuCtxPopCurrent(CUcontext *context) {
    ENTER(0); REQUIRE(depth > 0, CUDA_ERROR_INVALID_CONTEXT);
    depth--;
    if (context) *context = (CUcontext)stack[depth];
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
    ENTER(0);
    if (depth) depth--;
    if (context) stack[depth++] = (Context *)context;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuCtxGetCurrent(CUcontext *context) { ENTER(0); *context = (CUcontext)current(); LEAVE(CUDA_SUCCESS); }
EXPORT CUresult CUDAAPI cuCtxGetDevice(CUdevice *device) { ENTER(1); *device = current()->device; LEAVE(CUDA_SUCCESS); }
EXPORT CUresult CUDAAPI cuCtxSynchronize(void) {
    ENTER(1); counters[SYNCHRONISATIONS]++; drain_context(current()); LEAVE(current()->error);
}

/* -- memory ------------------------------------------------------------------------------------------------------ */

EXPORT CUresult CUDAAPI cuMemGetInfo(size_t *available, size_t *total) {
    ENTER(1); *total = memory; *available = memory - current()->used; LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuMemAlloc(CUdeviceptr *address, size_t size) {
    ENTER(1);
    uintptr_t found = 0;
    CUresult result = allocate(size, 1, &found);
    *address = found;
    LEAVE(result);
}
EXPORT CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
    ENTER(1);
    drain_context(current()); /* as the real one, it waits for the work that may use the memory */
    LEAVE(address ? release(address, 1) : CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuMemHostAlloc(void **address, size_t size, unsigned int flags) {
    (void)flags;
    ENTER(1);
    uintptr_t found = 0;
    CUresult result = allocate(size, 0, &found);
    *address = (void *)found;
    LEAVE(result);
}
EXPORT CUresult CUDAAPI cuMemFreeHost(void *address) {
    ENTER(1); drain_context(current()); LEAVE(release((uintptr_t)address, 0));
}
EXPORT CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
    ENTER(1); LEAVE(copy_async(stream, to, (uintptr_t)from, size, 1));
}
EXPORT CUresult CUDAAPI cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream) {
    ENTER(1); LEAVE(copy_async(stream, (uintptr_t)to, from, size, 0));
}

/* -- streams and events ------------------------------------------------------------------------------------------- */

EXPORT CUresult CUDAAPI cuStreamCreate(CUstream *stream, unsigned int flags) {
    (void)flags;
    ENTER(1);
    Stream *s = calloc(1, sizeof *s);
    s->next = streams; s->context = current(); s->live = 1; s->last = &s->first;
    streams = s; counters[STREAMS]++;
    *stream = s;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
    ENTER(1);
    Stream *s = stream_of(stream);
    REQUIRE(s, CUDA_ERROR_INVALID_HANDLE);
    drain(s, s->queued); /* what is queued still runs */
    s->live = 0; counters[STREAMS]--;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuStreamSynchronize(CUstream stream) {
    ENTER(1);
    Stream *s = stream_of(stream);
    REQUIRE(s, CUDA_ERROR_INVALID_HANDLE);
    counters[SYNCHRONISATIONS]++;
    drain(s, s->queued);
    LEAVE(s->context->error);
}
EXPORT CUresult CUDAAPI cuStreamQuery(CUstream stream) {
    ENTER(1);
    Stream *s = stream_of(stream);
    REQUIRE(s, CUDA_ERROR_INVALID_HANDLE);
    LEAVE(s->done < s->queued ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuEventCreate(CUevent *event, unsigned int flags) {
    ENTER(1);
    Event *e = calloc(1, sizeof *e);
    e->next = events; e->context = current(); e->flags = flags; e->live = 1;
    events = e; counters[EVENTS]++;
    *event = e;
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuEventDestroy(CUevent event) {
    ENTER(1);
    Event *e = event_of(event);
    REQUIRE(e, CUDA_ERROR_INVALID_HANDLE);
    e->live = 0; counters[EVENTS]--;
    drop_event(e);
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags) {
    ENTER(1);
    Stream *s = stream_of(stream);
    Event *e = event_of(event);
    REQUIRE(s && e, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(!flags, CUDA_ERROR_INVALID_VALUE);
    CUresult result = push(s, (Op){.kind = RECORD, .event = e});
    if (result == CUDA_SUCCESS) { e->recorded = 1; e->stream = s; e->number = s->queued; }
    LEAVE(result);
}
EXPORT CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) { return cuEventRecordWithFlags(event, stream, 0); }
EXPORT CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    ENTER(1);
    Event *a = event_of(start), *b = event_of(end);
    REQUIRE(a && b && a->recorded && b->recorded, CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(!((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    REQUIRE(a->stream->done >= a->number && b->stream->done >= b->number, CUDA_ERROR_NOT_READY);
    *ms = (float)(b->ms - a->ms);
    LEAVE(CUDA_SUCCESS);
}
EXPORT CUresult CUDAAPI cuLaunchHostFunc(CUstream stream, CUhostFn call, void *data) {
    ENTER(1);
    Stream *s = stream_of(stream);
    REQUIRE(s, CUDA_ERROR_INVALID_HANDLE);
    counters[CALLS]++;
    LEAVE(push(s, (Op){.kind = CALL, .call = call, .data = data}));
}

/* -- the same under the names that programs use which load the driver by hand -------------------------------------- */

#undef cuEventElapsedTime
EXPORT CUresult CUDAAPI cuEventElapsedTime(float *ms, CUevent start, CUevent end) { return cuEventElapsedTime_v2(ms, start, end); }
#undef cuDeviceTotalMem
EXPORT CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice device) { return cuDeviceTotalMem_v2(bytes, device); }

/* -- what tests set and read --------------------------------------------------------------------------------------- */

/* Size of the memory in bytes, number of devices, compute capability times ten, what cuInit answers; forgets errors. */
EXPORT void cudaDoubleSet(size_t bytes, int count, int compute_capability, int init) {
    pthread_mutex_lock(&lock);
    memory = bytes; devices = count > DEVICES ? DEVICES : count; capability = compute_capability; init_result = (CUresult)init;
    for (int i = 0; i < DEVICES; i++) contexts[i].error = CUDA_SUCCESS;
    memset(failures, 0, sizeof failures);
    pthread_mutex_unlock(&lock);
}
/* The entry point, or "execute" for work that runs, fails once, after `after` calls that do not. */
EXPORT void cudaDoubleFail(const char *entry, int result, int after) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < 8; i++)
        if (!failures[i].entry[0]) {
            snprintf(failures[i].entry, sizeof failures[i].entry, "%s", entry);
            failures[i].result = (CUresult)result; failures[i].after = after;
            break;
        }
    pthread_mutex_unlock(&lock);
}
EXPORT int cudaDoubleCounters(long *values, int count) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count && i < COUNTERS; i++) values[i] = counters[i];
    pthread_mutex_unlock(&lock);
    return COUNTERS;
}
EXPORT int cudaDoubleOnDevice(uintptr_t address, size_t size) {
    pthread_mutex_lock(&lock);
    int answer = on_device(address, size);
    pthread_mutex_unlock(&lock);
    return answer;
}
EXPORT int cudaDoubleDepth(void) { return depth; }
/* A fault of the device while it computes, as a stage that writes where it must not would cause. */
EXPORT void cudaDoubleFault(int device, int result) {
    pthread_mutex_lock(&lock);
    if (!contexts[device].error) contexts[device].error = (CUresult)result;
    pthread_mutex_unlock(&lock);
}
EXPORT void cudaDoubleRefused(const char *entry) {
    if (!strncmp(entry, "cuCtxCreate", 11)) counters[CONTEXTS_MADE]++;
    fprintf(stderr, "CUDA driver double: %s is not part of it\n", entry);
}
