"""The iterations of a Trainer: each happens wholly or not at all, whatever fails in it."""

import math
import time

import torch

from .. import ranks
from .finite import NotFinite, save_evidence
from .memory import MemoryLimit, is_out_of_memory, more_subdivisions, set_subdivisions
from .state import seed_generators
from .step import Before, Outcome, TrainError, accumulate

SKIPS_IN_ROW = 10  # iterations that are not finite before --on-nan skip gives up
EVIDENCE = 10  # mini-batches that are kept of them


class Iterations:
    """Base of Trainer, which sets what is used here: the network with its optimizer, schedule,
    average, scale of the loss and sizes; `open_batches`, `output`, `progress`, `plan`; `gradients`
    and `graphs`, each may be None; `position`, the images that were handed out, and `whole`, False
    while an iteration is under way."""

    def iterate(self):
        """One iteration, in smaller mini-batches where memory does not suffice."""
        started = time.perf_counter()
        _, *size = self.sizes(self.net.iteration)
        if tuple(size) != tuple(self.net.input_shape[1:]):
            self.net.resize(*size)
        self.net.train()
        outcome, waited = self._attempt()
        while outcome is None:
            outcome, waited = self._attempt()
        self._advance(outcome, time.perf_counter() - started, waited)

    def _attempt(self):
        """(outcome, seconds waited for images); outcome None: once more, with smaller mini-batches
        or a smaller factor of the loss."""
        net, before = self.net, Before(self.net)
        batches = self._batches()
        waited = batches.waited
        self.whole = False
        seed_generators(self.plan.seed, net.iteration, ranks.number())
        try:
            how = self.device, self.plan.precision, self._between, self.reducer, self.scale
            outcome = accumulate(net, self.graphs or net.loss, batches, *how)
        except NotFinite as found:
            if found.what == "gradient" and self.scale.lower():
                before.back()
                self.whole = True
                self._close_batches()
                return None, 0.0
            outcome = self._not_finite(found, before)
        except BaseException as error:
            before.back()
            self.whole = True
            if not is_out_of_memory(error):
                raise
            self._smaller(error)
            return None, 0.0
        else:
            net.iteration += 1
            self.progress.rate = self.schedule.rate(net.iteration)
            if self.gradients:
                with self.output.attempt("gradients.csv"):
                    self.gradients.book(net.iteration, outcome.images)
            sequence = net.options.sequence(net.iteration - 1)  # Darknet counts its images, too
            self.optimizer.step(self.progress.rate, outcome.images * sequence)
            self.average.update(net.iteration)
            self.scale.advance()
            self.progress.skipped_in_row = 0
        # as Darknet counts on saving, whatever dynamic_minibatch gave
        net.seen = net.iteration * net.options.effective_batch
        self.position += outcome.images
        self.whole = True
        self.progress.broken = outcome.broken
        for text in ranks.notes.news(outcome.notes):
            self.say(text)
        return outcome, batches.waited - waited

    def _batches(self):
        """The stream of mini-batches, opened where the run stands."""
        if self.batches is None:
            subdivisions = self.net.options.subdivisions
            self.batches = self.open_batches(
                self.position,
                self.net.iteration * subdivisions,
                lambda number: self.sizes(number // subdivisions),
            )
        return self.batches

    def _close_batches(self):
        self.batches.close()
        self.batches = None

    def _between(self, number):
        self.progress.mini_batch = number
        self.report(self.progress)

    def _smaller(self, error):
        """Out of memory: from now on half the images at a time, the batch as it was."""
        self._close_batches()
        more = more_subdivisions(self.net.options)
        if ranks.count() > 1:  # the others are in the middle of their sums
            raise MemoryLimit(
                f"rank {ranks.number()}: {str(error).splitlines()[0]}; raise subdivisions "
                "(--subdivisions, or --auto-batch), or --checkpoint-activations"
            ) from None
        if more is None:
            raise MemoryLimit(
                f"iteration {self.net.iteration + 1}: a mini-batch of one image does not fit into "
                f"memory ({str(error).splitlines()[0]}); lower width and height"
            ) from None
        set_subdivisions(self.net, more)
        if self.graphs:
            self.graphs.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.say(
            f"out of memory in iteration {self.net.iteration + 1}: the iteration is done again "
            f"with {more} subdivisions of {self.net.options.mini_batch} images"
        )

    def _not_finite(self, found, before):
        """Stops at a number that is not finite, or leaves the iteration out (--on-nan skip)."""
        net, progress, plan = self.net, self.progress, self.plan
        progress.rate = self.schedule.rate(net.iteration + 1)
        text = found.describe(net.iteration + 1, progress.rate)
        path = plan.out / f"{plan.name}_nonfinite_{net.iteration + 1}.safetensors"
        if progress.skipped < EVIDENCE:
            with self.output.attempt("the evidence"):
                if found.batch is not None:
                    save_evidence(path, found.batch, text)
                text += f" The mini-batch is in {path}."
        before.back()
        self.whole = True
        progress.skipped_in_row += 1
        if plan.on_nan != "skip" or progress.skipped_in_row > SKIPS_IN_ROW:
            raise TrainError(
                f"{text} The weights before it are in {plan.out / plan.name}_last.weights. Lower "
                "the learning rate, lengthen burn_in, or look at these images and their labels."
            )
        self.say(f"{text} The iteration is skipped.")
        progress.skipped += 1
        net.iteration += 1  # its images count as seen, whichever of them were looked at
        images = net.options.subdivisions * self.sizes(net.iteration - 1)[0]
        self._close_batches()
        return Outcome(math.nan, images, progress.broken)

    def _advance(self, outcome, seconds, waited):
        """Books one finished iteration."""
        progress, loss = self.progress, outcome.loss
        progress.iteration, progress.mini_batch = self.net.iteration, 0
        progress.loss = loss
        average = progress.avg_loss
        if math.isfinite(loss):
            progress.avg_loss = 0.9 * average + 0.1 * loss if math.isfinite(average) else loss
        progress.heads = outcome.heads
        progress.height, progress.width = self.net.input_shape[1:]
        progress.images += outcome.images
        progress.seconds, progress.wait_seconds = seconds, waited
        progress.images_per_second = outcome.images / seconds
        left = (self.net.options.max_batches - self.net.iteration) * seconds
        smooth = progress.seconds_left
        progress.seconds_left = 0.9 * smooth + 0.1 * left if math.isfinite(smooth) else left
