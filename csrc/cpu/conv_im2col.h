// Convolution as columns and matrix products (BLAS).  Per group:
//
//   pass          rows   columns   depth       left          right            lands in
//   forward       k      n*p*q     c*r*s       weight        columns of x     y
//   grad_x        c*r*s  n*p*q     k           weight        grad_y           columns, added to
//   grad_x grad_weight   k      c*r*s     n*p*q       grad_y        columns of x     grad_weight
//
// Sums run in an order that depends on the shape alone, or on it and the number of threads.
#pragma once

#include "../activation.h"
#include "../choose.h"
#include "../shapes.h"

namespace yolo::cpu {

// y = f(x * weight + bias), bias (k) or null
template <typename T>
void conv_im2col_forward(const ConvShape& shape, const ConvPlan& plan, const T* x, const T* weight,
                         const T* bias, Activation f, T* y, T* workspace, int threads);

template <typename T>
void conv_im2col_grad_x(const ConvShape& shape, const ConvPlan& plan, const T* grad_y,
                        const T* weight, T* grad_x, T* workspace, int threads);

template <typename T>
void conv_im2col_grad_weight(const ConvShape& shape, const ConvPlan& plan, const T* grad_y,
                             const T* x, T* grad_weight, T* workspace, int threads);

}  // namespace yolo::cpu
