"""The training loop: batches in, Darknet's update rule, weights, metrics and a chart out.

One iteration is `subdivisions` mini-batches whose gradients add up, then one update
(`batch` images in all). Loss and rate are the numbers that Darknet prints: the loss of an
iteration is the mean over its mini-batches of `Report.cost`, the average moves by a tenth.

A run may end anywhere and go on from its checkpoint as if it had not: everything that is random
follows from the seed, the iteration and the number of images handed out.
"""

import time

import torch

from .. import evaluate, ranks
from ..network import Network
from ..optimizer import DarknetSGD
from ..schedule import Schedule
from .average import Average
from .board import Board
from .gradients import Gradients
from .graph import Graphs
from .iterations import Iterations
from .metrics import columns
from .output import open_output
from .progress import Plan, Progress
from .reduce import Reducer, same_start
from .scale import LossScale
from .sizes import Rhythm, Sizes, random_of
from .state import capture, restore, verify
from .step import TrainError
from .stop import Interrupted, Stop


class Trainer(Iterations):
    """Runs a network over batches; `report` is called with the progress after each iteration.

    open_batches: function of (position, number, sizes) as `data.Loader` takes them (start, number,
    sizes) -> an iterator of `Batch`es with `waited` (seconds), and `close()`. measure: function of
    the network, `valid` (None: it is never called) and `precision` to a result with a `score`.
    say: a line for the user. texts: small files of the run.
    """

    def __init__(
        self,
        net: Network,
        open_batches,
        plan: Plan,
        valid=None,
        report=lambda progress: None,
        say=lambda text: None,
        device="cpu",
        measure=evaluate.evaluate,
        texts=None,
        checkpoint=None,
    ):
        self.net, self.open_batches, self.plan, self.valid = net, open_batches, plan, valid
        self.report, self.say, self.evaluate = report, say, measure
        self.device = torch.device(device)
        self.schedule = Schedule(net.options, plan.seed)
        self.optimizer = DarknetSGD(net)
        self.graphs = Graphs(net) if plan.graph else None
        self.average = Average(net)
        self.gradients = None
        if plan.log_gradients and ranks.first():
            self.gradients = Gradients(net, plan.out / "gradients.csv", plan.log_gradients)
        self.output = open_output(plan, columns(net), texts, say)
        wire = torch.bfloat16 if plan.bf16_gradients else None
        self.reducer = Reducer(net, wire, plan.sync_bn)
        self.scale = LossScale(plan.precision)
        self.progress = Progress(iteration=net.iteration)
        self.position, self.booked = net.seen, net.iteration
        if checkpoint:
            verify(checkpoint)
        start = checkpoint.state["start"] if checkpoint else net.iteration
        self.rhythm = _rhythm(plan, net.options, start)
        self.sizes = Sizes(net.options, random_of(net), self.rhythm, start, plan.seed)
        self.size = tuple(net.input_shape[1:])  # of the cfg
        self.batches, self.board, self.stop = None, None, Stop()
        self.whole = True  # False: an iteration is under way, or was broken off in its update
        self.result = None  # of the last measurement
        self.ended = None  # why, if not because all iterations are done
        if checkpoint:
            restore(self, checkpoint)
        elif net.iteration:
            self._earlier_rows()
        if self.gradients:
            self.gradients.begin()
        same_start(net)

    def _earlier_rows(self):
        """A run that starts from the weights of an earlier one in the same folder goes on in its
        metrics.csv."""
        if self.output.metrics.path.is_file():
            self.output.metrics.read(self.net.iteration)

    # --- the loop

    def run(self):
        """Trains up to `max_batches`, or until it is told to end (`ended` says why); returns the
        progress. A checkpoint and the last weights are left whatever ends the run."""
        plan, net = self.plan, self.net
        self._check_sizes()
        if plan.tensorboard and ranks.first():
            self.board = Board(plan.out / "tensorboard", net.iteration)
        self.output.prepare(capture(self), net)
        self.saved = self.saved_weights = self.numbered = net.iteration
        self.started = self.saved_at = time.monotonic()
        try:
            with self.stop:
                self._loop()
        except BaseException:
            self._leave()
            raise
        finally:
            self._close()
        return self.progress

    def _loop(self):
        if self.booked < self.net.iteration:  # it ended while mAP was being measured
            self.finish_iteration()
        while self.net.iteration < self.net.options.max_batches and not self._should_end():
            self.iterate()
            self.finish_iteration()
        if self.ended is None:
            self.output.save_weights(self.net, "final")
        if self.saved < self.net.iteration:
            self._save_last()
        self.output.chart(self.net.options.max_batches)

    def _should_end(self):
        """Whether a signal, --patience or --max-hours ends the run here, on every rank."""
        plan, hours = self.plan, (time.monotonic() - self.started) / 3600
        signal, hours = ranks.largest(self.stop.signal or 0, hours)
        if signal:
            self.stop.signal = signal
            self.ended = self.stop.name
        elif plan.patience and self.progress.worse >= plan.patience:
            self.ended = f"no better mAP in {plan.patience} measurements"
        elif plan.max_hours and hours >= plan.max_hours:
            self.ended = f"{plan.max_hours:g} hours are over"
        return self.ended is not None

    def _leave(self):
        """After an error: what was reached is saved, as far as that is possible."""
        with self.output.attempt("the last checkpoint"):
            if self.whole and self.saved < self.net.iteration:
                self._save_last()
            self.output.chart(self.net.options.max_batches)

    def _close(self):
        for part in (self.batches, self.board, self.gradients, self.output):
            if part is not None:
                part.close()

    # --- after an iteration

    def finish_iteration(self):
        """Measures and saves what is due, then reports."""
        iteration, progress = self.net.iteration, self.progress
        progress.map = None
        if self.rhythm.due(iteration):
            try:
                self.measure()
            except Interrupted:
                return  # the loop ends; a run that goes on begins with this measurement
        row = progress.row()
        self.output.book(row)
        self.booked = iteration
        if self.board:
            self.board.add(row)
        self._save_due(iteration)
        self.report(progress)

    def _save_due(self, iteration):
        plan = self.plan
        if iteration >= self.numbered + plan.save_every or iteration % plan.save_every == 0:
            with self.output.attempt(f"{plan.name}_{iteration}.weights"):
                self.output.save_weights(self.net, str(iteration))
            self.numbered = iteration
        period = plan.save_last_every
        due = iteration >= self.saved_weights + period or iteration % period == 0
        late = time.monotonic() - self.saved_at >= plan.save_seconds
        if due or late or self.output.try_again():
            with self.output.attempt("the checkpoint"):
                self._save_last()
                self.output.chart(self.net.options.max_batches)
            self.saved_weights, self.saved_at = iteration, time.monotonic()

    def _save_last(self):
        """Checkpoint, NAME_last.weights, and NAME_ema.weights once there is an average."""
        self.output.save(capture(self))
        self.saved = self.net.iteration
        self.output.save_weights(self.net, "last")
        if self.average.tensors:
            with self.average.inside():
                self.output.save_weights(self.net, "ema")

    def measure(self):
        """Mean average precision, or top-1 accuracy, on the validation data; keeps the best."""
        progress = self.progress
        if tuple(self.net.input_shape[1:]) != self.size:
            self.net.resize(*self.size)
        self.result = result = self._measured()
        progress.map = progress.last_map = result.score
        progress.measured = result.brief
        better = progress.best_map is None or result.score > progress.best_map
        progress.worse = 0 if better else progress.worse + 1
        if better or result.score == progress.best_map:
            progress.best_map = result.score
            with self.output.attempt(f"{self.plan.name}_best.weights"):
                self.output.save_weights(self.net, "best")

    def _measured(self):
        """The result; Interrupted where a signal comes, to whichever rank."""
        if ranks.count() == 1:
            at_once = self.stop.at_once()
        else:
            at_once = ranks.breaking_off(lambda: self.stop.signal is not None, Interrupted)
        with at_once:
            return self.evaluate(self.net, self.valid, precision=self.plan.precision)

    def _check_sizes(self):
        """Every size that may come, before the first step."""
        for size in sorted(self.sizes.all()):
            self.net.resize(*size)
            images = self.sizes.images(*size)
            if images < ranks.count():
                raise TrainError(
                    f"a mini-batch of {images} images has none for each of {ranks.count()} ranks; "
                    f"lower subdivisions ({self.net.options.subdivisions}), or start fewer"
                )
        self.net.resize(*self.size)


def _rhythm(plan, options, start):
    """First measured is after the burn-in."""
    first = max(options.burn_in, start + (plan.map_every or 0))
    return Rhythm(first, plan.map_every, options.max_batches)
