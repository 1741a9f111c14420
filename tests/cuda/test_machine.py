"""The emulated instructions against plain arithmetic, and the mistakes that the emulator names."""

import ctypes

import numpy as np
import pytest
import torch

from yolo.ops.cuda import TYPES, CudaError


def run(kernels, name, device, *arguments):
    kernels.call(
        name,
        device,
        *(ctypes.c_void_p(a.data_ptr()) if torch.is_tensor(a) else a for a in arguments),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_mma(machine, any_order, dtype):
    """Small integers, so that every sum is exact in any order of adding."""
    depth = 8 if dtype == torch.float32 else 16
    a = torch.randint(-8, 9, (16, depth)).to(machine.device, dtype)
    b = torch.randint(-8, 9, (8, depth)).to(machine.device, dtype)
    c = torch.empty(16, 8, device=machine.device)
    run(any_order, "probe_mma", machine.device, TYPES[dtype], a, b, c)
    assert torch.equal(c, a.float() @ b.float().T)


def test_tf32_ignores_the_low_bits(machine, kernels):
    a, b = torch.zeros(16, 8), torch.zeros(8, 8)
    a[0, 0], b[0, 0] = 1 + 2**-10 + 2**-11, 1.0
    c = torch.empty(16, 8, device=machine.device)
    a, b = a.to(machine.device), b.to(machine.device)
    run(kernels, "probe_mma", machine.device, TYPES[torch.float32], a, b, c)
    assert c[0, 0].item() == 1 + 2**-10


def test_ldmatrix(machine, any_order):
    """Lane 4 g + t holds elements (g, 2t), (g, 2t + 1) of each matrix, or (2t, g), (2t + 1, g)."""
    matrices = torch.arange(4 * 64, dtype=torch.int16, device=machine.device).view(4, 8, 8)
    out = torch.empty(32, 8, 2, dtype=torch.int16, device=machine.device)
    run(any_order, "probe_ldmatrix", machine.device, matrices, out)
    by_lane = matrices.view(4, 8, 4, 2).permute(1, 2, 0, 3).reshape(32, 4, 2)
    turned = matrices.transpose(1, 2).reshape(4, 8, 4, 2).permute(1, 2, 0, 3).reshape(32, 4, 2)
    assert torch.equal(out[:, :4], by_lane) and torch.equal(out[:, 4:], turned)


def test_conversions(machine, kernels):
    """All 16-bit patterns one way; random and awkward floats, ties among them, the other way."""
    count = 1 << 16
    x = torch.randn(count) * 10.0 ** torch.randint(-9, 9, (count,))
    x[:4096] = (torch.randint(0, 1 << 15, (4096,)).short().view(torch.float16)).float()
    x[:4096] *= 1 + 2.0**-11  # halfway between neighbours in fp16
    special = [0.0, -0.0, 65519.0, 65520.0, 2.0**-25, 2.0**-24, float("inf"), 1 + 2**-8 + 2**-9]
    x[4096 : 4096 + len(special)] = torch.tensor(special)
    x = torch.where(x.isnan(), 1.0, x)
    x = x.to(machine.device)
    as_bf16, as_fp16 = (torch.empty(count, dtype=torch.int16, device=x.device) for _ in range(2))
    back, as_tf32 = (torch.empty(count, dtype=torch.float32, device=x.device) for _ in range(2))
    run(kernels, "probe_convert", machine.device, x, as_bf16, as_fp16, back, as_tf32)
    assert torch.equal(as_bf16, x.bfloat16().view(torch.int16))
    assert torch.equal(as_fp16, x.half().view(torch.int16))
    patterns = torch.arange(count, device=x.device).short().view(torch.float16).float()
    torch.testing.assert_close(back, patterns, rtol=0, atol=0, equal_nan=True)
    bits = x.view(torch.int32).cpu().numpy().view(np.uint32).astype(np.uint64)
    wanted = np.where(np.isinf(x.cpu().numpy()), bits, (bits + 0x1000) & 0xFFFFE000)
    assert np.array_equal(as_tf32.cpu().numpy().view(np.uint32), wanted.astype(np.uint32))


def test_warp_operations(machine, any_order):
    x = torch.randint(-9, 10, (32,)).float().to(machine.device)
    out = torch.empty(4, 32, device=machine.device)
    run(any_order, "probe_warp", machine.device, x, out)
    votes = sum(1 << i for i in range(32) if x[i] > 0)
    assert torch.equal(out[0], x.sum().expand(32))
    assert torch.equal(out[1], torch.cat([x[1:], x[-1:]]))
    assert out[2].tolist() == [float(np.float32(votes >> i % 24)) for i in range(32)]
    assert torch.equal(out[3], x[5].expand(32))


def test_barrier(machine, any_order):
    x = torch.randn(64, device=machine.device)
    out = torch.empty_like(x)
    run(any_order, "probe_barrier", machine.device, 1, x, out)
    assert torch.equal(out, x.flip(0))


def test_copies_arrive_at_the_wait(machine, any_order):
    x, out = (torch.randn(32, 4, device=machine.device) for _ in range(2))
    run(any_order, "probe_copy", machine.device, 1, x, out)
    assert torch.equal(out[:, :3], x[:, :3]) and not out[:, 3].any()


@pytest.fixture
def emulator(machine):
    if not machine.emulated:
        pytest.skip("mistakes are made on the emulator alone")
    machine.set_order("forward")
    return machine


def test_a_missing_barrier_gives_nan(emulator):
    x, out = torch.randn(64), torch.empty(64)
    run(emulator.kernels, "probe_barrier", emulator.device, 0, x, out)
    assert out.isnan().any()


def test_a_missing_wait_gives_nan(emulator):
    x, out = torch.randn(32, 4), torch.empty(32, 4)
    run(emulator.kernels, "probe_copy", emulator.device, 0, x, out)
    assert out.isnan().all()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (0, r"deadlock(.|\n)*threads 0-31 wait in __syncthreads at .*probe.cu:\d+(.|\n)*"
            r"threads 32-39 wait in __syncwarp(.|\n)*threads 40-63 wait in __syncthreads"),
        (1, "thread 16 calls __shfl_sync while thread 0 waits in __syncwarp|"
            "thread 31 calls __shfl_sync while thread 0 waits in __syncwarp"),
        (2, "thread 0 ended with asynchronous copies in flight"),
        (3, "needs 32 lanes"),
        (4, "outside the limits of a GPU"),
    ],
)  # fmt: skip
def test_mistakes_are_named(emulator, mistake, words):
    x = torch.zeros(64)
    with pytest.raises(CudaError, match=words):
        run(emulator.kernels, "probe_mistake", emulator.device, mistake, x)
    run(emulator.kernels, "probe_barrier", emulator.device, 1, x, x.clone())  # and it goes on


@pytest.mark.parametrize(("stride", "wavefronts", "sectors"), [(1, 2, 4), (2, 4, 8), (32, 64, 32)])
def test_counters(emulator, stride, wavefronts, sectors):
    out = torch.empty(32 * 32)
    out = out[(-out.data_ptr() // 4) % 8 :]  # begin at a sector
    got = emulator.count(lambda: run(emulator.kernels, "probe_stride", "cpu", stride, out))
    assert got["shared_requests"] == 2 and got["shared_wavefronts"] == wavefronts
    assert got["global_requests"] == 1 and got["global_sectors"] == sectors
    assert got["global_bytes"] == 128
