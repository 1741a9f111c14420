// A list of prepared calls, launched one after the other without a return to the caller.
#include "cuda_api.h"

namespace {

template <class Call>
const Call* as(const YoloStep& step) {
    return static_cast<const Call*>(step.call);
}

int run(const YoloStep& step, void* stream) {
    switch (step.function) {
        case YOLO_CALL_IM2COL:
            return yolo_cuda_conv_im2col(as<YoloConv>(step), step.pass, stream);
        case YOLO_CALL_IMPLICIT:
            return yolo_cuda_conv_implicit(as<YoloConv>(step), step.pass, stream);
        case YOLO_CALL_STEM:
            return yolo_cuda_conv_stem(as<YoloConv>(step), step.pass, stream);
        case YOLO_CALL_DEPTHWISE:
            return yolo_cuda_depthwise(as<YoloConv>(step), step.pass, stream);
        case YOLO_CALL_NORM_FORWARD:
            return yolo_cuda_norm_forward(as<YoloNorm>(step), stream);
        case YOLO_CALL_MAXPOOL:
            return yolo_cuda_maxpool(as<YoloPool>(step), step.pass, stream);
        case YOLO_CALL_AVGPOOL:
            return yolo_cuda_avgpool(as<YoloPool>(step), step.pass, stream);
        case YOLO_CALL_UPSAMPLE:
            return yolo_cuda_upsample(as<YoloUpsample>(step), step.pass, stream);
        case YOLO_CALL_REORG:
            return yolo_cuda_reorg(as<YoloReorg>(step), stream);
        case YOLO_CALL_SPP:
            return yolo_cuda_spp(as<YoloSpp>(step), step.pass, stream);
        case YOLO_CALL_PRELU:
            return yolo_cuda_prelu(as<YoloPrelu>(step), step.pass, stream);
    }
    return YOLO_BAD_SHAPE;
}

}  // namespace

int yolo_cuda_run(const YoloStep* steps, int count, int* done, void* stream) {
    for (*done = 0; *done < count; ++*done) {
        int status = run(steps[*done], stream);
        if (status != YOLO_OK) return status;
    }
    return YOLO_OK;
}
