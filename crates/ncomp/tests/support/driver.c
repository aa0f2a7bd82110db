/* A driver for tests: as much of libcuda.so.1 as is asked before a GPU is used, and the fault that FAULT names. */
#include <stdlib.h>
#include <string.h>

static int fault(const char *name) {
    const char *set = getenv("FAULT");
    return set && strcmp(set, name) == 0;
}

int cuInit(unsigned flags) { return flags || fault("mismatch") ? 803 : fault("none") ? 100 : 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDriverGetVersion(int *version) { *version = fault("old driver") ? 11040 : 13000; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &fault + device; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device; }
int cuCtxSetCurrent(void *context) { return context == 0; }
int cuCtxGetCurrent(void **context) { *context = 0; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Imaginary", length + device); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    /* 75 and 76: the compute capability; 115: memory pools. */
    *value = attribute == 75 ? (fault("old device") ? 7 : 9) : attribute == 76 ? 5 : 1;
    return device;
}
int cuGetErrorName(int error, const char **name) {
    *name = error == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR";
    return 0;
}
int cuGetErrorString(int error, const char **text) {
    *text = error == 803 ? "system has unsupported display driver / cuda driver combination" : "an error";
    return 0;
}
