// Statuses of launches, and words for them.
#include "cuda_api.h"
#include "launch.cuh"

#ifdef YOLO_EMULATOR
#include <string>

static std::string last_failure;

int launch_status() {
    const char* message = emulator::take_error();
    if (message[0] == '\0') return YOLO_OK;
    last_failure = message;
    return YOLO_EMULATOR_FAILED;
}
static const char* device_message(int) {
    return last_failure.c_str();
}
int yolo_cuda_device_count() {
    return 0;
}
int yolo_cuda_driver_version() {
    return 0;
}
#else
int launch_status() {
    return int(cudaGetLastError());
}
static const char* device_message(int status) {
    return cudaGetErrorString(static_cast<cudaError_t>(status));
}
// Without a driver, or without a GPU, the answer is 0.
int yolo_cuda_device_count() {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}
int yolo_cuda_driver_version() {
    int version = 0;
    return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}
#endif

const char* yolo_cuda_message(int status) {
    switch (status) {
        case YOLO_OK:
            return "no error";
        case YOLO_BAD_SHAPE:
            return "sizes or strides that this kernel does not take";
        case YOLO_BAD_TYPE:
            return "a number type that this kernel does not take";
        case YOLO_WORKSPACE_TOO_SMALL:
            return "the workspace is smaller than was asked for";
        case YOLO_NOT_ALIGNED:
            return "addresses are not aligned as this kernel needs them";
        default:
            return device_message(status);
    }
}

int64_t yolo_cuda_struct_bytes(int which) {
    const size_t bytes[] = {sizeof(YoloConv),     sizeof(YoloNorm),  sizeof(YoloPool),
                            sizeof(YoloUpsample), sizeof(YoloReorg), sizeof(YoloParameter),
                            sizeof(YoloStep),     sizeof(YoloGrid),  sizeof(YoloDetect),
                            sizeof(YoloRoi),      sizeof(YoloSpp),   sizeof(YoloPrelu)};
    return which >= 0 && which < 12 ? int64_t(bytes[which]) : -1;
}
