"""What every hand-written backward shares: it runs without a graph and refuses a second one."""

import functools

import torch


def wants_grad(*tensors):
    """Whether a function of these tensors, None among them, is to be differentiated."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def own(y):
    """y as another tensor on the same memory, for a Function to return. What `.to()` and the like
    may have given back unchanged loses its gradient in a graph compiled by PyTorch 2.11."""
    return y.view_as(y)


class _Refuse(torch.autograd.Function):
    """Passes gradients through; differentiating them again is an error in words."""

    @staticmethod
    def forward(ctx, what, anchor, *grads):
        ctx.what = what
        return tuple(g.view_as(g) for g in grads)

    @staticmethod
    def backward(ctx, *grads):
        raise RuntimeError(
            f"{ctx.what}: second derivatives are not implemented; use yolo.ops.backend('torch') "
            "or leave out create_graph=True"
        )


def _refuse(what, grads):
    """With create_graph=True the gradients depend on saved tensors: mark, never drop, that."""
    grads = list(grads)
    places = [i for i, g in enumerate(grads) if g is not None]
    if not places:
        return tuple(grads)
    anchor = torch.zeros((), requires_grad=True)
    for i, g in zip(places, _Refuse.apply(what, anchor, *[grads[i] for i in places]), strict=True):
        grads[i] = g
    return tuple(grads)


def first_order(what):
    """Decorator of a Function's backward: gradients of `what` cannot be differentiated again."""

    def decorate(backward):
        @functools.wraps(backward)
        def wrapped(ctx, *grad_outputs):
            if not torch.is_grad_enabled():  # as everywhere, but for create_graph=True
                return backward(ctx, *grad_outputs)
            with torch.no_grad():
                grads = backward(ctx, *grad_outputs)
            return _refuse(what, grads if isinstance(grads, tuple) else (grads,))

        return wrapped

    return decorate
