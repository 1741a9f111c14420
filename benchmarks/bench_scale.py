"""Training on several processes of one machine: images a second, bytes, time spent exchanging.

    python benchmarks/bench_scale.py yolov3-tiny:416:4 yolov4-tiny:416:4 yolov4:416:2
    python benchmarks/bench_scale.py yolov4-tiny:416:4 --processes 4 --peers
    python benchmarks/bench_scale.py --predict yolov4.json

NET:SIZE:BATCH is the batch of all processes together. Every line is a step (forward, backward,
sum of gradients) in the median of --repeats:

    threads     one process, as many threads as there are processes elsewhere
    nothing     N processes of one thread, each with its share, none exchanging anything
    ours        the same, gradients summed while backward runs (yolo/train/reduce.py)
    after       the same, all sums after the backward pass
    bf16        as ours, gradients as bfloat16
    sync-bn     as ours, batch normalisation over all processes
    ddp         the same through torch's DistributedDataParallel

The alpha-beta model (scale_model.py) takes alpha and beta from all-reduces alone, the step from
`nothing`, and is compared with `ours` and `after`. --json keeps what it needs; --predict lays the
result out for numbers of GPUs and links that are assumed, not measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from scale_model import Link, Step, fit
from timing import header

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from yolo import cfg, ops, ranks
from yolo.network import Network
from yolo.train.reduce import Reducer

CFG = Path(__file__).resolve().parents[1] / "cfg"
MESSAGES = [1 << n for n in range(12, 25, 2)]  # bytes of the all-reduces that are timed alone
KINDS = ("nothing", "ours", "after", "bf16", "sync-bn")


class Work:
    """A rank's step on its share of a batch."""

    def __init__(self, spec):
        name, size, batch = spec.split(":")
        self.net = Network(cfg.read(CFG / f"{name}.cfg"), seed=0).train()
        self.net.resize(int(size), int(size))
        self.net.iteration = 10**6  # layers that begin later (stopbackward=N), too, learn
        self.images = len(range(*ranks.mine(int(batch))))
        self.x = torch.rand(self.images, *self.net.input_shape)
        self.boxes = torch.rand(10 * self.images, 6) * 0.4 + 0.3
        self.boxes[:, 0] = torch.arange(10 * self.images) // 10
        self.boxes[:, 1] = 0
        self.reducers = {
            "ours": Reducer(self.net),
            "bf16": Reducer(self.net, torch.bfloat16),
            "sync-bn": Reducer(self.net, sync_bn=True),
        }
        self.reducers["after"] = self.reducers["ours"]

    def step(self, kind):
        self.net.zero_grad(set_to_none=True)
        reducer = self.reducers.get(kind)
        with ops.statistics("shared" if kind == "sync-bn" else "own"):
            total = self.net.loss(self.x, self.boxes).total
            if reducer is None:
                total.backward()
                return
            with reducer.backward(kind != "after"):
                total.backward()
            reducer.finish()

    def ready(self):
        """[(bytes, share of the step after which they are there)] of each bucket."""
        found, reducer = [], self.reducers["ours"]
        send = reducer._send_next

        def noted():
            at = time.perf_counter()
            send()
            found.append((reducer.buckets[len(found)].sums.nbytes, at - started))

        reducer._send_next = noted
        started = time.perf_counter()
        self.step("ours")
        reducer._send_next = send
        whole = time.perf_counter() - started
        return [(size, min(1.0, at / whole)) for size, at in found]


def through_ddp(work):
    """A step by DistributedDataParallel, summing as Darknet's rate wants it."""

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = work.net

        def forward(self, x, boxes):
            return self.net.loss(x, boxes).total

    def total(_, bucket):
        future = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
        return future.then(lambda done: done.value()[0])

    wrapped = torch.nn.parallel.DistributedDataParallel(Loss())
    wrapped.register_comm_hook(None, total)

    def step():
        work.net.zero_grad(set_to_none=True)
        wrapped(work.x, work.boxes).backward()

    return step


def median(step, repeats):
    """Seconds of a step that all ranks begin together."""
    taken = []
    for _ in range(repeats + 1):
        ranks.summed(torch.zeros(1))
        started = time.perf_counter()
        step()
        ranks.summed(torch.zeros(1))
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[1:])  # the first warms up


def messages():
    """[(bytes, seconds)] of all-reduces alone."""
    found = []
    for size in MESSAGES:
        data = torch.zeros(size // 4)
        found.append((size, median(lambda data=data: dist.all_reduce(data), 9)))
    return found


def run_rank(args):
    """One process of a measurement; the first prints what was found as JSON."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.of > 1:
        store = dist.FileStore(args.store, args.of)
        how = dict(store=store, rank=args.rank, world_size=args.of, timeout=timedelta(minutes=2))
        dist.init_process_group("gloo", **how)
    work, found = Work(args.networks[0]), {}
    for kind in KINDS if args.of > 1 else ("nothing",):
        found[kind] = median(lambda kind=kind: work.step(kind), args.repeats)
    if args.of > 1:
        found |= {"buckets": work.ready(), "messages": messages()}
        if args.peers:
            found["ddp"] = median(through_ddp(work), args.repeats)
    if args.rank == 0:
        print(json.dumps(found))


def measure(spec, processes, threads, args):
    """What run_rank() of each of so many processes finds."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = {"of": processes, "threads": threads, "repeats": args.repeats}
        command = [sys.executable, __file__, spec, "--store", f"{folder}/store"]
        command += [f"--{name}={number}" for name, number in numbers.items()]
        command += ["--peers"] if args.peers else []
        started = [
            subprocess.Popen(
                [*command, "--rank", str(rank)],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )
            for rank in range(processes)
        ]
        texts = [process.communicate()[0] for process in started]
    return json.loads(texts[0].splitlines()[-1])


def compare(spec, args):
    """Prints the lines of one network; gives what the model needs."""
    n, batch = args.processes, int(spec.split(":")[2])
    single = measure(spec, 1, n, args)["nothing"]
    found = measure(spec, n, 1, args)
    print(f"\n{spec}: {n} processes of one thread; one process of {n} threads")
    print(f"  {'threads':9} {1e3 * single:8.0f} ms {batch / single:7.2f} images/s")
    for kind in (*KINDS, "ddp"):
        if kind in found:
            t = found[kind]
            line = f"  {kind:9} {1e3 * t:8.0f} ms {batch / t:7.2f} images/s"
            line += f"  efficiency {single / t:5.2f}  exchanging {1 - found['nothing'] / t:6.1%}"
            print(line)
    size = sum(each for each, _ in found["buckets"])
    wire = 2 * (n - 1) / n * size
    print(f"  {size / 1e6:.1f} MB of gradients, {len(found['buckets'])} buckets; ", end="")
    print(f"{wire / 1e6:.1f} MB sent by each process in a ring, half with bf16")
    link, step = fit(n, found["messages"]), Step(found["nothing"], tuple(found["buckets"]))
    print(
        f"  alpha {1e6 * link.alpha:.0f} us, {1e-9 / link.beta:.2f} GB/s; the model says ", end=""
    )
    for kind, predicted in (("ours", step.on(n, link)), ("after", step.after(n, link))):
        print(f"{kind} {1e3 * predicted:.0f} ms ({predicted / found[kind] - 1:+.1%})", end="  ")
    print()
    return {"spec": spec, "buckets": found["buckets"], "seconds": found["nothing"]}


# Assumed, not measured: seconds a message takes to start, bytes a second for each GPU.
LINKS = {
    "8 GPUs on NVLink": (8, Link(10e-6, 1 / 200e9)),
    "64 GPUs, 200 Gbit/s each": (64, Link(20e-6, 1 / 20e9)),
    "512 GPUs, 200 Gbit/s each": (512, Link(20e-6, 1 / 20e9)),
    "64 GPUs, 100 Gbit/s for eight": (64, Link(20e-6, 1 / 1.25e9)),
    "512 GPUs, 100 Gbit/s for eight": (512, Link(20e-6, 1 / 1.25e9)),
}


def predict(args):
    """Efficiency on numbers of GPUs, for a step that takes so long on one of them."""
    for kept in json.loads(Path(args.predict).read_text()):
        own = Step(args.step, tuple(kept["buckets"]))
        print(f"\n{kept['spec'].split(':')[0]}: predicted, with a step of {1e3 * args.step:g} ms")
        for name, (count, link) in LINKS.items():
            line = f"  {name:32}"
            for limit in (4 << 20, 25 << 20):
                step = own.merged(limit)
                shares = [args.step / step.on(count, link, factor) for factor in (1, 0.5)]
                line += f"  {limit >> 20:2} MB: fp32 {shares[0]:4.0%}, bf16 {shares[1]:4.0%}"
            print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NET:SIZE:BATCH")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="DistributedDataParallel as well")
    parser.add_argument("--json", help="keep what --predict needs")
    parser.add_argument("--predict", metavar="JSON")
    parser.add_argument("--step", type=float, default=0.1, help="seconds of a GPU's step")
    for name, kind in (("of", int), ("rank", int), ("threads", int), ("store", str)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.of:
        run_rank(args)
    elif args.predict:
        predict(args)
    else:
        print(header(args.processes))
        kept = [compare(spec, args) for spec in args.networks]
        if args.json:
            Path(args.json).write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
