// Table of contents of yolo._C.  Addresses arrive as integers, memory belongs to the caller, sizes
// were checked in Python; `itemsize` is 4 for float32 and 8 for float64.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "choose.h"
#include "cpu/activation.h"
#include "cpu/blas.h"
#include "cpu/conv_depthwise.h"
#include "cpu/conv_im2col.h"
#include "cpu/norm_act.h"
#include "cpu/pool.h"
#include "cpu/predicted.h"
#include "cpu/reorg.h"
#include "cpu/roi.h"
#include "cpu/rows.h"
#include "cpu/stretch.h"
#include "cpu/threads.h"
#include "cpu/update.h"
#include "cpu/upsample.h"
#include "packed_bindings.h"

namespace py = pybind11;

namespace yolo {
namespace {

using Address = uintptr_t;

// Calls body(T()) with the number type of that size.
template <typename Body>
void typed(int itemsize, Body body) {
    if (itemsize == 4) return body(float());
    if (itemsize == 8) return body(double());
    throw std::invalid_argument("itemsize must be 4 or 8, got " + std::to_string(itemsize));
}

// An address, turned into whichever pointer the callee wants.
struct At {
    Address address;
    template <typename T>
    operator T*() const {
        return reinterpret_cast<T*>(address);
    }
};

void conv2d_forward(const ConvShape& shape, const ConvPlan& plan, int itemsize, Address x,
                    Address weight, Address bias, Activation f, Address y, Address workspace,
                    int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        if (plan.algorithm == Algorithm::depthwise) {
            return cpu::conv_depthwise_forward<T>(shape, At{x}, At{weight}, At{bias}, f, At{y},
                                                  threads);
        }
        cpu::BlasAlone alone;
        cpu::conv_im2col_forward<T>(shape, plan, At{x}, At{weight}, At{bias}, f, At{y},
                                    At{workspace}, threads);
    });
}

void conv2d_grad_x(const ConvShape& shape, const ConvPlan& plan, int itemsize, Address grad_y,
                   Address weight, Address grad_x, Address workspace, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        if (plan.algorithm == Algorithm::depthwise) {
            return cpu::conv_depthwise_grad_x<T>(shape, At{grad_y}, At{weight}, At{grad_x},
                                                 threads);
        }
        cpu::BlasAlone alone;
        cpu::conv_im2col_grad_x<T>(shape, plan, At{grad_y}, At{weight}, At{grad_x}, At{workspace},
                                   threads);
    });
}

void conv2d_grad_weight(const ConvShape& shape, const ConvPlan& plan, int itemsize, Address grad_y,
                        Address x, Address grad_weight, Address workspace, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        if (plan.algorithm == Algorithm::depthwise) {
            return cpu::conv_depthwise_grad_weight<T>(shape, At{grad_y}, At{x}, At{grad_weight},
                                                      threads);
        }
        cpu::BlasAlone alone;
        cpu::conv_im2col_grad_weight<T>(shape, plan, At{grad_y}, At{x}, At{grad_weight},
                                        At{workspace}, threads);
    });
}

using Planes = std::array<int64_t, 3>;  // images, channels, pixels

void bias_act_forward(const Planes& s, int itemsize, Address x, Address bias, Activation f,
                      Address y, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::bias_act_forward<decltype(t)>({s[0], s[1], s[2]}, At{x}, At{bias}, f, At{y}, threads);
    });
}

void bias_act_backward(const Planes& s, int itemsize, Address grad_y, Address x, Address bias,
                       Activation f, Address grad_x, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::bias_act_backward<decltype(t)>({s[0], s[1], s[2]}, At{grad_y}, At{x}, At{bias}, f,
                                            At{grad_x}, threads);
    });
}

void prelu_forward(const Planes& s, int itemsize, Address x, Address slope, Address y,
                   int threads) {
    typed(itemsize, [&](auto t) {
        cpu::prelu_forward<decltype(t)>({s[0], s[1], s[2]}, At{x}, At{slope}, At{y}, threads);
    });
}

void prelu_backward(const Planes& s, int itemsize, Address grad_y, Address x, Address slope,
                    Address grad_x, Address grad_slope, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::prelu_backward<decltype(t)>({s[0], s[1], s[2]}, At{grad_y}, At{x}, At{slope},
                                         At{grad_x}, At{grad_slope}, threads);
    });
}

void channel_sums(const Planes& s, int itemsize, Address x, Address sums, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::channel_sums<decltype(t)>({s[0], s[1], s[2]}, At{x}, At{sums}, threads);
    });
}

void batch_statistics(const Planes& s, int itemsize, Address x, double momentum, double eps,
                      Address rolling_mean, Address rolling_var, Address mean, Address rstd,
                      int threads) {
    typed(itemsize, [&](auto t) {
        cpu::batch_statistics<decltype(t)>({s[0], s[1], s[2]}, At{x}, momentum, eps,
                                           At{rolling_mean}, At{rolling_var}, At{mean}, At{rstd},
                                           threads);
    });
}

using Channels = std::array<Address, 4>;  // scale, bias, mean, rstd

template <typename T>
cpu::NormChannels<T> channels_at(const Channels& a) {
    return {At{a[0]}, At{a[1]}, At{a[2]}, At{a[3]}};
}

void norm_act_forward(const Planes& s, int itemsize, Address x, const Channels& channels,
                      Activation f, Address y, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        cpu::norm_act_forward<T>({s[0], s[1], s[2]}, At{x}, channels_at<T>(channels), f, At{y},
                                 threads);
    });
}

void norm_act_backward(const Planes& s, int itemsize, Address grad_y, Address x,
                       const Channels& channels, Activation f, bool from_batch, Address grad_x,
                       Address grad_scale, Address grad_bias, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        cpu::norm_act_backward<T>({s[0], s[1], s[2]}, At{grad_y}, At{x}, channels_at<T>(channels),
                                  f, from_batch, At{grad_x}, At{grad_scale}, At{grad_bias},
                                  threads);
    });
}

void maxpool_forward(const PoolShape& shape, int itemsize, Address x, Address y, Address at,
                     Address scratch, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::maxpool_forward<decltype(t)>(shape, At{x}, At{y}, At{at}, At{scratch}, threads);
    });
}

void maxpool_backward(const PoolShape& shape, int itemsize, Address grad_y, Address at,
                      Address grad_x, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::maxpool_backward<decltype(t)>(shape, At{grad_y}, At{at}, At{grad_x}, threads);
    });
}

void avgpool_forward(int64_t planes, int64_t pixels, int itemsize, Address x, Address y,
                     int threads) {
    typed(itemsize, [&](auto t) {
        cpu::avgpool_forward<decltype(t)>(planes, pixels, At{x}, At{y}, threads);
    });
}

void avgpool_backward(int64_t planes, int64_t pixels, int itemsize, Address grad_y, Address grad_x,
                      int threads) {
    typed(itemsize, [&](auto t) {
        cpu::avgpool_backward<decltype(t)>(planes, pixels, At{grad_y}, At{grad_x}, threads);
    });
}

void enlarge(const Planes& s, int64_t stride, double scale, int itemsize, Address small,
             Address large, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::enlarge<decltype(t)>(s[0], s[1], s[2], stride, scale, At{small}, At{large}, threads);
    });
}

void block_sums(const Planes& s, int64_t stride, double scale, int itemsize, Address large,
                Address small, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::block_sums<decltype(t)>(s[0], s[1], s[2], stride, scale, At{large}, At{small},
                                     threads);
    });
}

using ReorgSizes = std::array<int64_t, 5>;  // n, c of the large index, h, w of the small, s

void reorg(const ReorgSizes& s, bool pack, int itemsize, Address x, Address y, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        const cpu::ReorgShape shape{s[0], s[1], s[2], s[3], s[4]};
        if (pack) return cpu::reorg_pack<T>(shape, At{x}, At{y}, threads);
        cpu::reorg_unpack<T>(shape, At{x}, At{y}, threads);
    });
}

void best_overlap(const std::array<int64_t, 4>& s, int itemsize, Address boxes, Address truths,
                  Address best, int threads) {
    typed(itemsize, [&](auto t) {
        const cpu::OverlapShape shape{s[0], s[1], s[2], s[3]};
        cpu::best_overlap<decltype(t)>(shape, At{boxes}, At{truths}, At{best}, threads);
    });
}

// sizes: height, width and channels of the image, height and width of the planes
void stretch(const std::array<int64_t, 5>& s, bool bytes, Address image, Address planes) {
    const cpu::StretchShape shape{s[0], s[1], s[2], s[3], s[4]};
    if (bytes) return cpu::stretch<uint8_t>(shape, At{image}, At{planes});
    cpu::stretch<float>(shape, At{image}, At{planes});
}

// sizes: planes, classes, cells, values from plane to plane
void highest(const std::array<int64_t, 4>& s, int itemsize, Address x, Address y, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::highest<decltype(t)>(s[0], s[1], s[2], s[3], At{x}, At{y}, threads);
    });
}

// weight, gradient, update, count; decay, rate, limit, clip
using UpdateRow = std::tuple<Address, Address, Address, int64_t, double, double, double, double>;

void update(int itemsize, const std::vector<UpdateRow>& rows, double momentum, int threads) {
    typed(itemsize, [&](auto t) {
        using T = decltype(t);
        std::vector<cpu::Parameter<T>> parameters;
        for (const auto& [weight, grad, update, count, decay, rate, limit, clip] : rows)
            parameters.push_back(
                {At{weight}, At{grad}, At{update}, count, T(decay), T(rate), T(limit), T(clip)});
        cpu::update<T>(parameters, T(momentum), threads);
    });
}

using RoiSizes = std::array<int64_t, 8>;  // n, c, h, w, regions, p, q, samples

cpu::RoiShape roi_shape(const RoiSizes& s) {
    return {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]};
}

void roi_align_forward(const RoiSizes& s, int itemsize, Address x, Address rois, Address y,
                       int threads) {
    typed(itemsize, [&](auto t) {
        cpu::roi_align_forward<decltype(t)>(roi_shape(s), At{x}, At{rois}, At{y}, threads);
    });
}

void roi_align_backward(const RoiSizes& s, int itemsize, Address grad_y, Address rois,
                        Address grad_x, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::roi_align_backward<decltype(t)>(roi_shape(s), At{grad_y}, At{rois}, At{grad_x},
                                             threads);
    });
}

void roi_pool_forward(const RoiSizes& s, int itemsize, Address x, Address rois, Address y,
                      Address at, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::roi_pool_forward<decltype(t)>(roi_shape(s), At{x}, At{rois}, At{y}, At{at}, threads);
    });
}

void roi_pool_backward(const RoiSizes& s, int itemsize, Address grad_y, Address rois, Address at,
                       Address grad_x, int threads) {
    typed(itemsize, [&](auto t) {
        cpu::roi_pool_backward<decltype(t)>(roi_shape(s), At{grad_y}, At{rois}, At{at}, At{grad_x},
                                            threads);
    });
}

void use_blas(Address sgemm, Address dgemm, Address get_threads, Address set_threads) {
    cpu::use_blas({At{sgemm}, At{dgemm}, At{get_threads}, At{set_threads}});
}

ConvShape conv_shape(const std::array<int64_t, 9>& sizes, std::array<int64_t, 2> stride,
                     std::array<int64_t, 2> padding, std::array<int64_t, 2> dilation,
                     int64_t groups) {
    const auto& [n, c, h, w, k, r, s, p, q] = sizes;
    return {n, c,         h,         w,          k,          r,           s,           p,
            q, stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1], groups};
}

PoolShape pool_shape(const std::array<int64_t, 6>& sizes, std::array<int64_t, 2> size,
                     std::array<int64_t, 2> stride, std::array<int64_t, 2> offset) {
    const auto& [n, c, h, w, p, q] = sizes;
    return {n, c, h, w, p, q, size[0], size[1], stride[0], stride[1], offset[0], offset[1]};
}

void define_types(py::module_& m) {
    py::enum_<Activation> activation(m, "Activation");
    int value = 0;
    for (const char* name : ACTIVATION_NAMES) {
        activation.value(name, static_cast<Activation>(value++));
    }
    py::enum_<Pass>(m, "Pass")
        .value("forward", Pass::forward)
        .value("grad_x", Pass::grad_x)
        .value("grad_weight", Pass::grad_weight);
    py::class_<ConvShape>(m, "ConvShape").def(py::init(&conv_shape));
    py::class_<PoolShape>(m, "PoolShape").def(py::init(&pool_shape));
    py::class_<ConvPlan>(m, "ConvPlan")
        .def_property_readonly(
            "algorithm",
            [](const ConvPlan& p) { return ALGORITHM_NAMES[static_cast<int>(p.algorithm)]; })
        .def_readonly("images", &ConvPlan::images)
        .def_readonly("block", &ConvPlan::block)
        .def_readonly("parts", &ConvPlan::parts)
        .def_readonly("partials", &ConvPlan::partials)
        .def_readonly("workspace", &ConvPlan::workspace);
}

}  // namespace
}  // namespace yolo

PYBIND11_MODULE(_C, m) {
    using namespace yolo;
    using unlocked = py::call_guard<py::gil_scoped_release>;
    m.doc() = "Kernels of the network; yolo.ops is the way to call them.";
    define_types(m);

    m.def("use_blas", &use_blas);
    m.def("blas_width", &cpu::BlasAlone::width);
    m.def("isa_name", &cpu::isa_name);
    m.def("use_isa", &cpu::use_isa);
    m.def("pool_size", &cpu::pool_size);
    m.def("choose", &choose);

    m.def("conv2d_forward", &conv2d_forward, unlocked());
    m.def("conv2d_grad_x", &conv2d_grad_x, unlocked());
    m.def("conv2d_grad_weight", &conv2d_grad_weight, unlocked());

    m.def("bias_act_forward", &bias_act_forward, unlocked());
    m.def("bias_act_backward", &bias_act_backward, unlocked());
    m.def("prelu_forward", &prelu_forward, unlocked());
    m.def("prelu_backward", &prelu_backward, unlocked());
    m.def("channel_sums", &channel_sums, unlocked());
    m.def("batch_statistics", &batch_statistics, unlocked());
    m.def("norm_act_forward", &norm_act_forward, unlocked());
    m.def("norm_act_backward", &norm_act_backward, unlocked());

    m.def("maxpool_forward", &maxpool_forward, unlocked());
    m.def("maxpool_backward", &maxpool_backward, unlocked());
    m.def("maxpool_scratch", &cpu::maxpool_scratch);
    m.def("avgpool_forward", &avgpool_forward, unlocked());
    m.def("avgpool_backward", &avgpool_backward, unlocked());
    m.def("enlarge", &enlarge, unlocked());
    m.def("block_sums", &block_sums, unlocked());
    m.def("reorg", &reorg, unlocked());
    m.def("roi_align_forward", &roi_align_forward, unlocked());
    m.def("roi_align_backward", &roi_align_backward, unlocked());
    m.def("roi_pool_forward", &roi_pool_forward, unlocked());
    m.def("roi_pool_backward", &roi_pool_backward, unlocked());
    m.def("best_overlap", &best_overlap, unlocked());
    m.def("stretch", &stretch, unlocked());
    m.def("highest", &highest, unlocked());
    m.def("update", &update, unlocked());

    packed::bind(m);
}
