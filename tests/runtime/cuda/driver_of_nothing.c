/* libcuda.so.1 for tests on a machine without a GPU: memory is the host's, copies copy, and kernels do nothing. What
   cuda-bindings makes of Python's arguments is checked here: handles, code, and the parameters of launches. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef void *Handle;
typedef unsigned long long Address;
enum { OK = 0, INVALID_VALUE = 1, INVALID_IMAGE = 200, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };

static uintptr_t handles = 16;
static Result make(Handle *made) { *made = (Handle)(handles += 16); return OK; }
static Result given(Handle handle) { return (uintptr_t)handle > 16 ? OK : INVALID_VALUE; }
static Result stream(Handle handle) { return handle == (Handle)1 ? OK : given(handle); }
static void *memory(size_t n) { void *m = aligned_alloc(256, (n + 255) / 256 * 256); return memset(m, 0, n); }

Result cuInit(unsigned flags) { return OK; }
Result cuDriverGetVersion(int *version) { *version = 13000; return OK; }
Result cuDeviceGetCount(int *n) { *n = 1; return OK; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return OK; }
Result cuDeviceGetName(char *name, int n, int device) { strncpy(name, "a driver of nothing", n); return OK; }
Result cuDeviceGetAttribute(int *v, int which, int d) { *v = which == 75 ? 9 : which == 76 ? 0 : 132; return OK; }
Result cuDevicePrimaryCtxRetain(Handle *context, int device) { return make(context); }
Result cuCtxSetCurrent(Handle context) { return given(context); }
Result cuGetErrorName(int code, const char **name) { *name = "CUDA_ERROR_OF_NOTHING"; return OK; }
Result cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = (size_t)1 << 33; return OK; }
Result cuMemAlloc_v2(Address *made, size_t n) { *made = (Address)memory(n); return OK; }
Result cuMemFree_v2(Address address) { free((void *)address); return OK; }
Result cuMemHostAlloc(void **made, size_t n, unsigned flags) { *made = memory(n); return OK; }
Result cuMemFreeHost(void *address) { free(address); return OK; }
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t n, Handle s) { memcpy((void *)to, from, n); return stream(s); }
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t n, Handle s) { memcpy(to, (void *)from, n); return stream(s); }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, Handle s) { memcpy((void *)to, (void *)from, n); return stream(s); }
Result cuMemsetD8Async(Address to, unsigned char value, size_t n, Handle s) { memset((void *)to, value, n); return stream(s); }
Result cuStreamCreate(Handle *made, unsigned flags) { return flags == 1 ? make(made) : INVALID_VALUE; }
Result cuStreamSynchronize(Handle s) { return stream(s); }
Result cuStreamWaitEvent(Handle s, Handle event, unsigned flags) { return stream(s) ? INVALID_VALUE : given(event); }
Result cuStreamBeginCapture_v2(Handle s, int mode) { return mode == 2 ? given(s) : INVALID_VALUE; }
Result cuStreamEndCapture(Handle s, Handle *graph) { return given(s) ? INVALID_VALUE : make(graph); }
Result cuGraphInstantiateWithFlags(Handle *made, Handle graph, unsigned long long flags) { return given(graph) ? INVALID_VALUE : make(made); }
Result cuGraphDestroy(Handle graph) { return given(graph); }
Result cuGraphExecDestroy(Handle graph) { return given(graph); }
Result cuGraphLaunch(Handle graph, Handle s) { return getenv("GRAPHS_FAIL") ? ILLEGAL_ADDRESS : given(graph) ? INVALID_VALUE : given(s); }
Result cuEventCreate(Handle *made, unsigned flags) { return make(made); }
Result cuEventDestroy_v2(Handle event) { return given(event); }
Result cuEventRecord(Handle event, Handle s) { return stream(s) ? INVALID_VALUE : given(event); }
Result cuEventQuery(Handle event) { return given(event); }
Result cuEventSynchronize(Handle event) { return given(event); }
Result cuModuleLoadData(Handle *made, const void *code) { return memcmp(code, "\x7f" "ELF", 4) ? INVALID_IMAGE : make(made); }
Result cuModuleGetFunction(Handle *made, Handle module, const char *name) { return strcmp(name, "kernel") ? NOT_FOUND : make(made); }
Result cuFuncGetAttribute(int *value, int which, Handle function) { *value = which; return given(function); }

Result cuLaunchKernel(Handle f, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                      unsigned threads_z, unsigned shared, Handle s, void **parameters, void **extra) {
    int64_t first;
    memcpy(&first, parameters[0], sizeof first); /* a segmentation fault where it is no array of pointers */
    if (given(f) || given(s) || !x || y != 1 || z != 1 || !threads || threads > 1024 || shared || extra) return INVALID_VALUE;
    return OK;
}

Result cuGetProcAddress_v2(const char *name, void **found, int version, uint64_t flags, int *status) {
    char versioned[128];
    void *own = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
    snprintf(versioned, sizeof versioned, "%s_v2", name);
    *found = strcmp(name, "cuGraphInstantiate") ? dlsym(own, versioned) : dlsym(own, "cuGraphInstantiateWithFlags");
    if (!*found) *found = dlsym(own, name);
    if (status) *status = *found ? 0 : 1;
    return *found ? OK : NOT_FOUND;
}
