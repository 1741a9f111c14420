"""Learning rate of each iteration, as [net] describes it.

Darknet stores rates in single precision and computes powers in double; so does this, to the bit.
"""

import numpy as np

PI = 3.14159265  # as many digits as Darknet has


class Schedule:
    """rate(b) for the b-th update, counted from 1: with b = images seen // images per update.

    options: the keys of [net] as attributes; only those of the policy in use are read.
    """

    def __init__(self, options, seed: int = 0):
        self.options, self.seed = options, seed
        self.policy = getattr(self, f"_{options.policy}", None)
        if self.policy is None:
            names = ", ".join(POLICIES)
            raise ValueError(f"[net] policy is one of {names}; got '{options.policy}'")
        _check(options)

    def rate(self, batch_number: int) -> float:
        """The rate of an update; for every policy it begins with the burn-in."""
        options = self.options
        with np.errstate(over="ignore"):
            if batch_number < options.burn_in:
                share = np.float32(batch_number) / np.float32(options.burn_in)
                return self._times(_power(share, options.power))
            return float(np.float32(self.policy(batch_number)))

    def _times(self, factor) -> float:
        """learning_rate * factor: the product in double, the result in single precision."""
        return float(np.float32(np.float64(np.float32(self.options.learning_rate)) * factor))

    def _constant(self, b: int) -> float:
        return self._times(1.0)

    def _step(self, b: int) -> float:
        return self._times(_power(self.options.scale, b // self.options.step))

    def _steps(self, b: int) -> float:
        rate = np.float32(self.options.learning_rate)
        for step, scale in zip(self.options.steps, self.options.scales, strict=False):
            if step > b:
                break  # steps out of order: those after a larger one wait for it
            rate = rate * np.float32(scale)
        return rate

    def _exp(self, b: int) -> float:
        return self._times(_power(self.options.gamma, b))

    def _poly(self, b: int) -> float:
        done = np.float32(b) / np.float32(self.options.max_batches)
        # Past max_batches the base would be negative; the rate has come to its end.
        return self._times(_power(max(np.float32(0), np.float32(1) - done), self.options.power))

    def _random(self, b: int) -> float:
        """Darknet draws at every question; here an iteration has one draw, whoever asks."""
        draw = np.random.default_rng((self.seed, b)).random(dtype=np.float32)
        return self._times(_power(draw, self.options.power))

    def _sigmoid(self, b: int) -> float:
        gamma = np.float64(np.float32(self.options.gamma))
        return self._times(1 / (1 + np.exp(gamma * (b - self.options.step))))

    def _sgdr(self, b: int) -> float:
        """Cosine from learning_rate to learning_rate_min, then again, each cycle longer."""
        start, length = 0, self.options.sgdr_cycle or self.options.max_batches
        while start + length < b:
            start += length
            length *= self.options.sgdr_mult
        low = np.float32(self.options.learning_rate_min)
        span = np.float64(np.float32(self.options.learning_rate) - low)
        return np.float64(low) + 0.5 * span * (1 + np.cos((b - start) * PI / length))


POLICIES = ("constant", "step", "steps", "exp", "poly", "random", "sigmoid", "sgdr")


def _power(base, exponent) -> np.float64:
    return np.power(np.float64(np.float32(base)), np.float64(np.float32(exponent)))


def _check(options) -> None:
    """Values for which a policy has no rate."""
    policy = options.policy
    if policy == "steps" and len(options.steps) > len(options.scales):
        counts = f"{len(options.steps)} steps and {len(options.scales)} scales"
        raise ValueError(f"[net] policy=steps needs a scale for each step; got {counts}")
    if policy == "step" and options.step < 1:
        raise ValueError(f"[net] policy=step needs step of 1 or more; got {options.step}")
    if policy == "poly" and options.max_batches < 1:
        raise ValueError(f"[net] policy=poly needs max_batches; got {options.max_batches}")
    if policy == "sgdr":
        if (options.sgdr_cycle or options.max_batches) < 1:
            raise ValueError("[net] policy=sgdr needs sgdr_cycle or max_batches")
        if options.sgdr_mult < 1:
            raise ValueError(f"[net] sgdr_mult must be 1 or more; got {options.sgdr_mult}")
