"""A GPU that is not there: tensors that PyTorch takes for CUDA's, in ordinary memory.

    with StandIn(kernels).entered():
        net.to("cuda")

Tensors say that they are on cuda:0, and yolo's operators take their CUDA way, down to the emulated
kernels; backward runs in a thread of its own, as it does for a GPU. Tensors of two devices in one
operation are an error, as on a GPU. So is, while a graph is being captured, whatever waits for the
device; nothing is computed then, and replay() does again what was recorded, on the same memory,
with the numbers of that time.
"""

import contextlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from yolo.ops.cuda import Kernels, operators

HERE = torch.device("cuda", 0)
aten = torch.ops.aten
# take indices, or a single number, of the CPU as well
MIXED = {"index", "index_put", "index_put_", "_index_put_impl_", "copy_", "_to_copy"}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"}


class Stood(torch.Tensor):
    """One tensor of cuda:0; `held` has its numbers."""

    @staticmethod
    def __new__(cls, real):
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device="meta",  # autograd's engine would look for a GPU
        )
        made.held = real
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f"{function} outside of the stand-in's block")

    device, is_cuda, is_cpu, is_meta = HERE, True, False, False

    def data_ptr(self):
        return self.held.data_ptr()

    def tolist(self):
        return self.cpu().tolist()

    def new_tensor(self, numbers, dtype=None):
        return torch.tensor(numbers, dtype=dtype or self.dtype).to(HERE)

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            made = self.detach().clone().requires_grad_(self.requires_grad)
            made._is_param = getattr(self, "_is_param", False)
            memo[id(self)] = made
        return memo[id(self)]

    def __repr__(self):
        return f"Stood({tuple(self.shape)}, {self.dtype})"


def real(tensor):
    return tensor.held if isinstance(tensor, Stood) else tensor


def place_of(arguments):
    """Those of Tensor.to() in words that PyTorch understands without a GPU."""
    first, *rest = arguments or (None,)
    if isinstance(first, Stood):
        return HERE, first.dtype, *rest
    if isinstance(first, str | torch.device) and str(first) == "cuda":
        return HERE, *rest
    return arguments


class StandIn(TorchDispatchMode):
    """The device; `waits` counts what has waited for it."""

    def __init__(self, kernels):
        """kernels: those of the emulator."""
        super().__init__()
        self.kernels, self.capturing, self.waits = kernels, None, 0

    @contextlib.contextmanager
    def entered(self, monkeypatch):
        for name, value in self._faces().items():
            monkeypatch.setattr(torch.cuda, name, value)
        for place in ("ops.cuda.operators.kernels", "ops.update.kernels", "plan.cuda.cuda_kernels"):
            monkeypatch.setattr(f"yolo.{place}", lambda: self.kernels)
        for name in ("backward", "grad"):
            monkeypatch.setattr(
                torch.autograd, name, self._elsewhere(getattr(torch.autograd, name))
            )
        plain_to = torch.Tensor.to
        monkeypatch.setattr(torch.Tensor, "to", lambda t, *a, **k: plain_to(t, *place_of(a), **k))
        # parameters become new ones, not the old ones with other content
        new = torch.__future__.get_overwrite_module_params_on_conversion
        monkeypatch.setattr(torch.__future__, new.__name__, lambda: True)
        plain = Kernels.call

        def call(kernels, name, device, *arguments):
            self._do(lambda: plain(kernels, name, device, *arguments))

        monkeypatch.setattr(Kernels, "call", call)
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # numbers become a tensor of the CPU, then move
        try:
            with self:
                yield self
        finally:
            torch._C._set_only_lift_cpu_tensors(lifts)

    def _elsewhere(self, function):
        """The function, called in a thread that has none of the caller's choices."""

        def run(*args, **kwargs):
            with self:
                return function(*args, **kwargs)

        def call(*args, **kwargs):
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(run, *args, **kwargs).result()

        return call

    def _faces(self):
        """What of torch.cuda our code asks for."""
        return {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "current_device": lambda: 0,
            "set_device": lambda _: None,
            "manual_seed_all": lambda _: None,
            "get_device_name": lambda *_: "stand-in",
            "get_device_capability": lambda *_: (9, 0),
            "synchronize": lambda *_: None,
            "empty_cache": lambda: None,
            "current_stream": lambda *_: Stream(),
            "Stream": Stream,
            "stream": lambda stream: contextlib.nullcontext(),
            "device": lambda device: contextlib.nullcontext(),
            "CUDAGraph": lambda: Graph(self),
            "graph": self.capture,
            "graph_pool_handle": lambda: object(),
            "get_rng_state": lambda _: torch.get_rng_state(),
            "set_rng_state": lambda state, _: torch.set_rng_state(state),
            "device_count": lambda: 1,
            "Event": Event,
            "memory_allocated": lambda: 0,
            "max_memory_allocated": lambda: 0,
            "reset_peak_memory_stats": lambda: None,
        }

    @contextlib.contextmanager
    def capture(self, graph, pool=None, capture_error_mode="global"):
        self.capturing = graph
        try:
            yield
        finally:
            self.capturing = None

    def _do(self, work):
        if self.capturing is None:
            return work()
        self.capturing.steps.append(work)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        here = any(isinstance(t, Stood) for t in tensors)
        if function.namespace == "yolo" and here:
            with self:
                return operators.IMPLEMENTATIONS[function._schema.name[6:]](*args, **kwargs)
        if here and not torch._C._dispatch_has_kernel_for_dispatch_key(function.name(), "CPU"):
            with self:  # what is made of other operators
                found = function.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        wanted = kwargs.get("device")
        to_here = here if wanted is None else torch.device(wanted).type in ("cuda", "meta")
        if not here and not to_here:
            return function(*args, **kwargs)
        name = function._schema.name.partition("::")[2]
        self._check(name, function, tensors, to_here)
        if wanted is not None:
            kwargs = kwargs | {"device": "cpu"}
        kwargs.pop("non_blocking", None)
        plain_args, plain_kwargs = tree_map(real, (args, kwargs))
        return self._run(function, args, plain_args, plain_kwargs, to_here)

    def _check(self, name, function, tensors, to_here):
        crossing = name in ("copy_", "_to_copy") and (
            len({isinstance(t, Stood) for t in tensors} | {to_here}) > 1
        )
        if name in WAITS or crossing:
            self.waits += 1
            if self.capturing is not None:
                raise RuntimeError(f"CUDA error: {name} is not permitted when stream is capturing")
        if name not in MIXED and any(t.dim() and not isinstance(t, Stood) for t in tensors):
            raise RuntimeError(f"{function}: Expected all tensors to be on the same device")

    def _run(self, function, args, plain_args, plain_kwargs, to_here):
        changed = [a for a in function._schema.arguments if a.alias_info and a.alias_info.is_write]
        if changed:
            self._do(lambda: function(*plain_args, **plain_kwargs))
            place = next(i for i, a in enumerate(function._schema.arguments) if a in changed)
            return args[place] if function._schema.returns else None
        found = function(*plain_args, **plain_kwargs)
        views = any(r.alias_info for r in function._schema.returns)
        if self.capturing is not None and not views:
            self.capturing.keep(function, plain_args, plain_kwargs, found)
        if not to_here:
            return found
        return tree_map(lambda t: Stood(t) if isinstance(t, torch.Tensor) else t, found)


class Stream:
    cuda_stream = 0

    def __init__(self, *_):
        pass

    def wait_stream(self, other):
        pass


class Event:
    """A time of the host."""

    def __init__(self, enable_timing):
        self.seconds = None

    def record(self):
        self.seconds = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, later):
        return 1e3 * (later.seconds - self.seconds)


class Graph:
    """Of torch.cuda.CUDAGraph what is used."""

    def __init__(self, device):
        self.device, self.steps, self.number = device, [], next(Graph.numbers)

    numbers = itertools.count()

    def keep(self, function, args, kwargs, found):
        """A result that each replay computes anew; its memory stays."""
        spots = [t for t in tree_leaves(found) if isinstance(t, torch.Tensor)]
        if "empty" in function._schema.name:
            self.steps.append(lambda: spots)
            return

        def again():
            made = [t for t in tree_leaves(function(*args, **kwargs)) if torch.is_tensor(t)]
            for spot, new in zip(spots, made, strict=True):
                spot.copy_(new)

        self.steps.append(again)

    def replay(self):
        with torch.utils._python_dispatch._disable_current_modes(), torch.no_grad():
            for step in self.steps:
                step()

    def pool(self):
        return object()
