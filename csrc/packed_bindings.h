#pragma once

#include <pybind11/pybind11.h>

namespace yolo::packed {

void bind(pybind11::module_& parent);  // adds the submodule `packed`
void bind_training(pybind11::module_& packed);

}  // namespace yolo::packed
