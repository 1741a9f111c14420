// Activations that kernels compute themselves; the others go through PyTorch expressions.
#pragma once

namespace yolo {

enum class Activation : int { linear, logistic, leaky, relu, relu6, ramp, tanh, swish, mish };

inline constexpr const char* ACTIVATION_NAMES[] = {"linear", "logistic", "leaky", "relu", "relu6",
                                                   "ramp",   "tanh",     "swish", "mish"};

}  // namespace yolo
