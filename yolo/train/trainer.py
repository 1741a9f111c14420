"""The training loop: batches in, Darknet's update rule, weights, metrics and a chart out.

One iteration is `subdivisions` mini-batches whose gradients add up, then one update
(`batch` images in all). Loss and rate are the numbers that Darknet prints: the loss of an
iteration is the mean over its mini-batches of `Report.cost`, the average moves by a tenth.
"""

import math
import time

import torch

from .. import evaluate, plot, weights
from ..errors import YoloError
from ..network import Network
from ..ops import PrecisionError, precision
from ..optimizer import DarknetSGD
from ..schedule import Schedule
from .finite import first_non_finite
from .metrics import MetricsFile
from .progress import Plan, Progress


class TrainError(YoloError, RuntimeError):
    """Training cannot go on; the message names iteration, layer and images."""


class Trainer:
    """Runs a network over batches; `report` is called with the progress after each iteration.

    `batches` yields `Batch`es of one mini-batch each, forever, and counts in `waited` the
    seconds that its consumer waited. `measure` is a function of the network, `valid` (None: it is
    never called) and `precision` to a result with a `score`.
    """

    def __init__(
        self,
        net: Network,
        batches,
        plan: Plan,
        valid=None,
        report=None,
        device="cpu",
        measure=evaluate.evaluate,
    ):
        if plan.precision == "fp16":
            raise PrecisionError(
                "training in fp16 needs scaled losses, which are not built: small gradients would "
                "become 0; bf16 has the range of float32"
            )
        self.net, self.batches, self.plan, self.valid = net, batches, plan, valid
        self.evaluate = measure
        self.report = report or (lambda progress: None)
        self.device = torch.device(device)
        self.schedule = Schedule(net.options)
        self.optimizer = DarknetSGD(net)
        self.progress = Progress(iteration=net.iteration)
        self.next_map = None
        self.result = None  # of the last measurement
        if plan.map_every is not None:
            self.next_map = max(net.options.burn_in, net.iteration + plan.map_every)

    def run(self):
        """Trains up to `max_batches`; returns the final progress. The last weights are saved
        whatever ends the run."""
        plan, net = self.plan, self.net
        plan.out.mkdir(parents=True, exist_ok=True)
        last_numbered = last_saved = net.iteration
        with MetricsFile(plan.out / "metrics.csv", net.iteration) as metrics:
            self.progress.rows.extend(metrics.rows)
            try:
                while net.iteration < plan.max_batches:
                    self.iterate()
                    it = net.iteration
                    if self.next_map is not None and (
                        it >= self.next_map or it == plan.max_batches
                    ):
                        self.measure()
                    metrics.write(self.progress.row())
                    self.progress.rows.append(self.progress.row())
                    if it >= last_numbered + plan.save_every or it % plan.save_every == 0:
                        self.save(str(it))
                        last_numbered = it
                    if it >= last_saved + plan.save_last_every or it % plan.save_last_every == 0:
                        self.save("last")
                        last_saved = it
                        self.chart()
                    self.report(self.progress)
                    self.progress.map = None
            except BaseException:
                self.save("last")
                self.chart()
                raise
        self.save("final")
        self.chart()
        return self.progress

    def iterate(self):
        """One iteration: forward and backward over every mini-batch, then the update."""
        net, progress = self.net, self.progress
        started, waited = time.perf_counter(), self.batches.waited
        net.train()
        statistics = [buffer.clone() for buffer in net.buffers()]
        subdivisions = net.options.subdivisions
        loss, paths, images = 0.0, [], 0
        for progress.mini_batch in range(subdivisions):
            if progress.mini_batch:
                self.report(progress)
            batch = next(self.batches)
            net.seen += len(batch.images)
            images += len(batch.images)
            paths += batch.paths
            x = batch.images.to(self.device, non_blocking=True)
            with precision(self.plan.precision):
                report = net.loss(x, batch.truth.to(self.device))
                if not math.isfinite(report.cost):
                    self.refuse(statistics, x, paths, "loss")
                report.total.backward()
            loss += report.cost / subdivisions
            progress.skipped = getattr(self.batches, "skipped", 0)
        if not self.gradients_finite():
            self.refuse(statistics, x, paths, "gradient")
        net.iteration += 1
        progress.rate = self.schedule.rate(net.seen // images)
        self.optimizer.step(progress.rate, images)
        self.advance(loss, images, time.perf_counter() - started, self.batches.waited - waited)

    def advance(self, loss, images, seconds, waited):
        """Books one finished iteration."""
        progress = self.progress
        progress.iteration = self.net.iteration
        progress.loss = loss
        average = progress.avg_loss
        progress.avg_loss = 0.9 * average + 0.1 * loss if math.isfinite(average) else loss
        progress.images += images
        progress.seconds, progress.wait_seconds = seconds, waited
        progress.images_per_second = images / seconds
        left = (self.plan.max_batches - self.net.iteration) * seconds
        smooth = progress.seconds_left
        progress.seconds_left = 0.9 * smooth + 0.1 * left if math.isfinite(smooth) else left

    def gradients_finite(self):
        """True when no gradient holds NaN or infinity (one norm over all of them)."""
        grads = [p.grad for p in self.net.parameters() if p.grad is not None]
        if not grads:
            return True
        return bool(torch.stack(torch._foreach_norm(grads)).isfinite().all())

    def refuse(self, statistics, x, paths, what):
        """Stops at a non-finite number: the last good state goes to NAME_last.weights."""
        where = first_non_finite(self.net, x)
        with torch.no_grad():
            for buffer, good in zip(self.net.buffers(), statistics, strict=True):
                buffer.copy_(good)
        self.net.zero_grad(set_to_none=True)
        shown = ", ".join(str(p) for p in paths[:8]) + (" ..." if len(paths) > 8 else "")
        raise TrainError(
            f"iteration {self.net.iteration + 1}: the {what} is not finite ({where}; rate "
            f"{self.progress.rate:g}; images: {shown}). The weights before it are in "
            f"{self.plan.out / (self.plan.name + '_last.weights')}. Lower the learning rate, "
            "lengthen burn_in, or look at these images and their labels."
        )

    def measure(self):
        """Mean average precision, or top-1 accuracy, on the validation data; keeps the best."""
        progress = self.progress
        plan = self.plan
        result = self.evaluate(self.net, self.valid, precision=plan.precision)
        self.result = result
        progress.map = progress.last_map = result.score
        if progress.best_map is None or result.score >= progress.best_map:
            progress.best_map = result.score
            self.save("best")
        self.next_map = self.net.iteration + self.plan.map_every

    def save(self, suffix):
        """Writes NAME_SUFFIX.weights. Images of an iteration that was not finished do not count."""
        self.net.seen = self.net.iteration * self.net.options.effective_batch
        weights.save(self.net, self.plan.out / f"{self.plan.name}_{suffix}.weights")

    def chart(self):
        """Rewrites chart.png."""
        if self.progress.rows:
            plot.chart(
                self.progress.rows, self.plan.out / "chart.png", max_batches=self.plan.max_batches
            )
