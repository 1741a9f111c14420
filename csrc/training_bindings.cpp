// yolo._C.packed, the part that trains: addresses of packed float32 tensors, a border of one pixel
// around each, in memory of the caller's.
#include <pybind11/stl.h>

#include <array>
#include <memory>

#include "cpu/packed/conv_passes.h"
#include "cpu/packed/norm_training.h"
#include "cpu/packed/pointwise_training.h"
#include "cpu/packed/pool_memory.h"
#include "cpu/packed/spatial_training.h"
#include "packed_bindings.h"

namespace py = pybind11;

namespace yolo::packed {
namespace {

using Address = uintptr_t;

float* at(Address address) {
    return reinterpret_cast<float*>(address);
}
NormSize norm_size(const Size& s) {
    return {s[0], s[1], s[2], s[3]};
}
NormParameters parameters(const std::array<Address, 4>& p) {
    return {at(p[0]), at(p[1]), at(p[2]), at(p[3])};
}

void norm_forward(const Size& size, Address z, long z_image, const std::array<Address, 4>& p,
                  Activation activation, Address y, long y_image, Address workspace, int threads) {
    norm_act_forward(choose(), norm_size(size), {at(z), z_image}, parameters(p), activation,
                     {at(y), y_image}, at(workspace), threads);
}

void norm_backward(const Size& size, Address dy, long dy_image, Address z,
                   const std::array<Address, 4>& p, Activation activation, bool from_batch,
                   Address dz, Address grad_scale, Address grad_bias, Address workspace,
                   int threads) {
    norm_act_backward(choose(), norm_size(size), {at(dy), dy_image}, at(z), parameters(p),
                      activation, from_batch, at(dz), at(grad_scale), at(grad_bias), at(workspace),
                      threads);
}

void forward_moments(const ConvPasses& c, Address x, long image, Address weight, Address z,
                     double momentum, double eps, const std::array<Address, 2>& rolling,
                     Address mean, Address rstd, Address workspace) {
    c.forward_moments({at(x), image}, at(weight), at(z), at(workspace));
    norm_statistics(choose(), c.norm_size(), momentum, eps, at(rolling[0]), at(rolling[1]),
                    at(mean), at(rstd), at(workspace));
}

// Of y = activation(norm(z)), z = x * weight: the norm's gradients, by way of dz those by the
// weight and by x, where there is an address.
void backward(const ConvPasses& c, Address dy, long dy_image, Address z,
              const std::array<Address, 4>& p, Activation activation, bool from_batch, Address dz,
              Address grad_scale, Address grad_bias, Address x, long image, Address weight,
              Address grad_weight, Address grad_x, Address workspace, int threads) {
    const Norm norm =
        norm_act_sums(choose(), c.norm_size(), {at(dy), dy_image}, at(z), parameters(p), activation,
                      from_batch, at(grad_scale), at(grad_bias), at(workspace), threads);
    c.backward(norm, at(dz), {at(x), image}, at(weight), at(grad_weight), at(grad_x),
               at(workspace));
}

void bind_conv(py::module_& m) {
    using unlocked = py::call_guard<py::gil_scoped_release>;
    using Conv = ConvPasses;
    py::class_<Conv>(m, "ConvTraining", py::module_local())
        .def(py::init([](const ConvShape& shape, bool planar, bool fast, int threads) {
                 return Conv::make(choose(), shape, planar, fast, threads);
             }),
             py::arg("shape"), py::arg("planar"), py::arg("fast"), py::arg("threads"))
        .def_static("fits", [](const ConvShape& shape,
                               bool planar) { return Conv::fits(choose(), shape, planar); })
        .def_property_readonly("workspace", &Conv::workspace)
        .def_property_readonly("algorithm", &Conv::algorithm)
        .def_property_readonly("wants_dz", &Conv::wants_dz)
        .def(
            "forward",
            [](const Conv& c, Address x, long image, Address weight, Address y, Address ws) {
                c.forward({at(x), image}, at(weight), {at(y), 0}, at(ws));
            },
            unlocked())
        .def("forward_moments", &forward_moments, unlocked())
        .def(
            "gradients",  // by the weight and by x, where there is an address
            [](const Conv& c, Address dz, Address x, long image, Address weight,
               Address grad_weight, Address grad_x, Address ws) {
                c.gradients({at(dz), 0}, {at(x), image}, at(weight), at(grad_weight),
                            {at(grad_x), 0}, at(ws));
            },
            unlocked())
        .def("backward", &backward, unlocked());
}

using Given = std::pair<Address, long>;  // and the floats from an image to the next
Input at(const Given& x) {
    return {at(x.first), x.second};
}

void bind_pointwise(py::module_& m) {
    using unlocked = py::call_guard<py::gil_scoped_release>;
    m.def(
        "pointwise",
        [](const Size& s, Given a, Given b, bool multiply, int spread, Activation f, Address y,
           int threads) {
            pointwise(choose(), s, at(a), at(b), multiply, Spread(spread), f, at(y), threads);
        },
        unlocked());
    m.def(
        "product_grad",
        [](const Size& s, Given a, Given b, int spread, Given dy, Address da, Address db,
           int threads) {
            product_grad(choose(), s, at(a), at(b), Spread(spread), at(dy), at(da), at(db),
                         threads);
        },
        unlocked());
    m.def(
        "prelu",
        [](const Size& s, Given x, Given slope, Address y, int threads) {
            prelu(choose(), s, at(x), at(slope), at(y), threads);
        },
        unlocked());
    m.def(
        "prelu_grad",
        [](const Size& s, Given x, Given slope, Given dy, Address dx, Address dslope, int threads) {
            prelu_grad(choose(), s, at(x), at(slope), at(dy), at(dx), at(dslope), threads);
        },
        unlocked());
    m.def(
        "activate_map",
        [](const Size& s, Activation f, Given x, Address y, int threads) {
            activate_map(choose(), s, f, at(x), at(y), threads);
        },
        unlocked());
    m.def(
        "slope_product",
        [](const Size& s, Activation f, Given x, Given dy, Address dx, int threads) {
            slope_product(choose(), s, f, at(x), at(dy), at(dx), threads);
        },
        unlocked());
    m.def(
        "drop",
        [](const Size& s, double probability, const std::array<unsigned, 2>& key, Given x,
           Address y, int threads) { drop(choose(), s, probability, key, at(x), at(y), threads); },
        unlocked());
    m.def(
        "average_pool",
        [](const Size& s, Given x, Address y, int threads) {
            average_pool(choose(), s, at(x), at(y), threads);
        },
        unlocked());
    m.def(
        "average_pool_grad",
        [](const Size& s, Given dy, Address dx, int threads) {
            average_pool_grad(choose(), s, at(dy), at(dx), threads);
        },
        unlocked());
}

}  // namespace

void bind_training(py::module_& m) {
    using unlocked = py::call_guard<py::gil_scoped_release>;
    bind_conv(m);
    bind_pointwise(m);
    py::class_<Lease>(m, "Lease", py::buffer_protocol(), py::module_local())
        .def(py::init<long>())
        .def_buffer([](Lease& l) { return py::buffer_info(l.data(), l.floats()); });
    m.def("norm_workspace", [](const Size& s) { return norm_workspace(choose(), norm_size(s)); });
    m.def("norm_act_forward", &norm_forward, unlocked());
    m.def("norm_act_backward", &norm_backward, unlocked());
    m.def(
        "clear", [](Address data, long floats, int threads) { clear(at(data), floats, threads); },
        unlocked());
    m.def(
        "pack",
        [](const Size& s, Address planar, Address packed, int threads) {
            pack(choose(), s, at(planar), at(packed), threads);
        },
        unlocked());
    m.def(
        "unpack",
        [](const Size& s, Address packed, Address planar, int threads) {
            unpack(choose(), s, at(packed), at(planar), threads);
        },
        unlocked());
    m.def(
        "max_pool",
        [](const PoolShape& s, Address x, long x_image, Address y, int threads) {
            max_pool(choose(), s, {at(x), x_image}, at(y), threads);
        },
        unlocked());
    m.def(
        "max_pool_grad",
        [](const PoolShape& s, Address x, long x_image, Address y, Address dy, long dy_image,
           Address dx, int threads) {
            max_pool_grad(choose(), s, {at(x), x_image}, at(y), {at(dy), dy_image}, at(dx),
                          threads);
        },
        unlocked());
    m.def(
        "enlarge",
        [](const Size& s, int scale, float gain, Address x, long x_image, Address y, int threads) {
            enlarge(choose(), s, scale, gain, {at(x), x_image}, at(y), threads);
        },
        unlocked());
    m.def(
        "reorg",
        [](const Size& small, const std::array<int, 4>& walk, bool to_small, Given x, Address y,
           int threads) { reorg(choose(), small, walk, to_small, at(x), at(y), threads); },
        unlocked());
    m.def(
        "sum",
        [](const Size& s, const std::vector<std::tuple<Address, long, int, int, Address>>& given,
           Address y, long y_image, int threads) {
            std::vector<SumTerm> terms;
            for (const auto& [x, image, channels, first, factor] : given)
                terms.push_back({{at(x), image}, channels, first, at(factor)});
            sum(choose(), s, terms, {at(y), y_image}, threads);
        },
        unlocked());
    m.def(
        "block_sums",
        [](const Size& s, int scale, float gain, Address x, long x_image, Address y, int threads) {
            block_sums(choose(), s, scale, gain, {at(x), x_image}, at(y), threads);
        },
        unlocked());
}

}  // namespace yolo::packed
