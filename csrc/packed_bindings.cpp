// yolo._C.packed: the packed CPU kernels, through a plan.
#include "packed_bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>

#include "cpu/packed/plan.h"
#include "cpu/packed/planar.h"

namespace py = pybind11;

namespace yolo::packed {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using SliceTuple = std::array<int, 3>;     // buffer, first block, blocks
using GeometryTuple = std::array<int, 8>;  // kernel h w, stride h w, padding h w, dilation h w

Slice slice(const SliceTuple& t) {
    return {t[0], t[1], t[2]};
}
ConvGeometry geometry(const GeometryTuple& t) {
    return {t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7]};
}

Activation activation(const std::string& name) {
    int i = 0;
    for (const char* known : ACTIVATION_NAMES) {
        if (name == known) return static_cast<Activation>(i);
        ++i;
    }
    throw std::invalid_argument("plan: no packed activation '" + name + "'");
}

Algorithm algorithm(const std::string& name) {
    if (name == "direct") return Algorithm::direct;
    if (name == "depthwise") return Algorithm::depthwise;
    if (name == "winograd2") return Algorithm::winograd2;
    if (name == "winograd4") return Algorithm::winograd4;
    if (name == "phases") return Algorithm::phases;
    throw std::invalid_argument("plan: no packed algorithm '" + name + "'");
}

void check_floats(const char* what, const Floats& array, long expected) {
    if (array.size() != expected)
        throw std::invalid_argument(std::string("plan: ") + what + " has " +
                                    std::to_string(array.size()) + " values, expected " +
                                    std::to_string(expected));
}

void add_conv(Plan& plan, const std::string& how, const SliceTuple& x, const SliceTuple& y,
              const std::optional<SliceTuple>& residual, const Floats& weight, const Floats& bias,
              const GeometryTuple& g, const std::string& act) {
    const Algorithm kind = algorithm(how);
    const long outputs = long(y[2]) * plan.lanes(), taps = long(g[0]) * g[1];
    const long inputs = kind == Algorithm::depthwise ? 1 : long(x[2]) * plan.lanes();
    check_floats("weight", weight, outputs * inputs * taps);
    check_floats("bias", bias, outputs);
    const Slice added = residual ? slice(*residual) : Slice{};
    plan.conv(kind, slice(x), slice(y), residual ? &added : nullptr, weight.data(), bias.data(),
              geometry(g), activation(act));
}

void add_stem(Plan& plan, int channels, int height, int width, const SliceTuple& y,
              const Floats& weight, const Floats& bias, const GeometryTuple& g,
              const std::string& act) {
    const long outputs = long(y[2]) * plan.lanes();
    check_floats("weight", weight, outputs * channels * g[0] * g[1]);
    check_floats("bias", bias, outputs);
    plan.stem(channels, height, width, slice(y), weight.data(), bias.data(), geometry(g),
              activation(act));
}

Precision precision(const std::string& name) {
    if (name == "fp32") return Precision::fp32;
    if (name == "bf16") return Precision::bf16;
    throw std::invalid_argument("plan: no packed kernels compute in '" + name + "'");
}

using Address = uintptr_t;

float* at(Address address) {
    return reinterpret_cast<float*>(address);
}

// Addresses of dense float32 tensors; bias may be 0, workspace holds winograd_workspace() floats.
void forward(const ConvShape& shape, Address x, Address weight, Address bias,
             const std::string& act, Address y, Address workspace, int threads) {
    winograd_forward(choose(), shape, at(x), at(weight), at(bias), activation(act), at(y),
                     at(workspace), threads);
}

void grad_x(const ConvShape& shape, Address grad_y, Address weight, Address grad_x,
            Address workspace, int threads) {
    winograd_grad_x(choose(), shape, at(grad_y), at(weight), at(grad_x), at(workspace), threads);
}

// Operations a second of one core that multiplies and adds and does nothing else, best of ten.
double peak(const std::string& level, const std::string& in) {
    const Kernels& kernels = choose(level.c_str(), precision(in));
    double best = 0;
    for (int i = 0; i < 10; ++i) {
        float values[32] = {};
        const auto start = std::chrono::steady_clock::now();
        const double operations = kernels.peak(1000000, values);
        const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
        best = std::max(best, operations / time.count());
    }
    return best;
}

void run(Plan& plan, int first, int last, const std::vector<uintptr_t>& planar) {
    std::vector<float*> pointers;
    for (uintptr_t p : planar) pointers.push_back(reinterpret_cast<float*>(p));
    py::gil_scoped_release free;
    plan.run(first, last, pointers);
}

}  // namespace

void bind(py::module_& parent) {
    py::module_ m = parent.def_submodule("packed", "Packed CPU kernels and inference plans.");
    m.def(
        "levels",
        [](const std::string& name) {
            std::vector<std::pair<std::string, int>> found;
            for (const Kernels* k : levels(precision(name))) found.emplace_back(k->name, k->lanes);
            return found;
        },
        py::arg("precision") = "fp32",
        "(name, lanes) of the instruction sets this processor has kernels for, best first");
    m.def(
        "level",
        [](const std::string& name, const std::string& in) {
            const Kernels& k = choose(name.c_str(), precision(in));
            return std::pair<std::string, int>(k.name, k.lanes);
        },
        py::arg("name") = "", py::arg("precision") = "fp32",
        "(name, lanes) in use: YOLO_ISA, else the best");

    m.def(
        "buffer_elements",
        [](const std::string& level, const std::string& in, int n, int blocks, int h, int w,
           int border) {
            return Plan::size(choose(level.c_str(), precision(in)), {0, n, blocks, h, w, border});
        },
        "elements that a buffer of a plan occupies");

    m.def("peak", &peak, py::arg("level") = "", py::arg("precision") = "fp32",
          "operations a second that one core does at best with the level's multiply-adds");

    using unlocked = py::call_guard<py::gil_scoped_release>;
    m.def("winograd_fits", &winograd_fits);
    m.def("winograd_workspace", [](const ConvShape& shape, int threads) {
        return winograd_workspace(choose(), shape, threads);
    });
    m.def("winograd_forward", &forward, unlocked());
    m.def("winograd_grad_x", &grad_x, unlocked());

    bind_training(m);
    py::class_<Plan>(m, "Plan", py::module_local())
        .def(py::init([](const std::string& level, int threads, long arena_elements,
                         const std::string& in) {
                 return std::make_unique<Plan>(choose(level.c_str(), precision(in)), threads,
                                               arena_elements);
             }),
             py::arg("level"), py::arg("threads"), py::arg("arena_elements"),
             py::arg("precision") = "fp32")
        .def("buffer", [](Plan& plan, long offset, int n, int blocks, int h, int w,
                          int border) { return plan.buffer({offset, n, blocks, h, w, border}); })
        .def("input", [](Plan& p, SliceTuple y, int channels,
                         int number) { p.input(slice(y), channels, number); })
        .def("conv", &add_conv)
        .def("stem", &add_stem)
        .def("max_pool",
             [](Plan& p, SliceTuple x, SliceTuple y, std::array<int, 2> size,
                std::array<int, 2> stride, std::array<int, 2> before) {
                 p.max_pool(slice(x), slice(y), size[0], size[1], stride[0], stride[1], before[0],
                            before[1]);
             })
        .def("average_pool",
             [](Plan& p, SliceTuple x, SliceTuple y) { p.average_pool(slice(x), slice(y)); })
        .def("pointwise",
             [](Plan& p, SliceTuple a, SliceTuple b, SliceTuple y, bool multiply, bool broadcast,
                const std::string& act) {
                 p.pointwise(slice(a), slice(b), slice(y), multiply, broadcast, activation(act));
             })
        .def("copy",
             [](Plan& p, SliceTuple x, SliceTuple y, const std::vector<int>& channel, int scale,
                float gain) { p.copy(slice(x), slice(y), channel, scale, gain); })
        .def("output",
             [](Plan& p, SliceTuple x, int number, const std::vector<int>& channel,
                const std::vector<float>& logistic) {
                 p.output(slice(x), number, channel, logistic);
             })
        .def("run", &run, "run(first step, last step, addresses of the planar tensors)")
        .def_readwrite("timing", &Plan::timing)
        .def_readonly("milliseconds", &Plan::milliseconds)
        .def_readonly("processor_milliseconds", &Plan::processor_milliseconds)
        .def_property_readonly("steps", &Plan::steps)
        .def_property_readonly("threads", &Plan::threads)
        .def_property_readonly("weight_bytes", &Plan::weight_bytes)
        .def_property_readonly("arena_bytes", &Plan::arena_bytes)
        .def_property_readonly("scratch_bytes", &Plan::scratch_bytes);
}

}  // namespace yolo::packed
