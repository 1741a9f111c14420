"""[net]: what holds for the whole network and its training, every key typed."""

from dataclasses import dataclass, field, fields

from .cfg import LARGEST_INT

POLICIES = ("constant", "step", "steps", "exp", "poly", "random", "sigmoid", "sgdr")

# Darknet reads these; they concern its memory, its graphs on a GPU and its windows, or stand in
# published files without being read at all.
IGNORED = (
    *("optimized_memory", "workspace_size_limit_MB", "use_cuda_graph", "try_fix_nan"),
    *("show_receptive_field", "max_chart_loss", "attention", "max_epochs", "seen"),
)

# Asked for, these would change training in a way that is not there yet.
ABSENT = {
    "adversarial_lr": "there is no adversarial pass",
    "contrastive": "there is no contrastive training",
    "unsupervised": "labels are needed",
    "weights_reject_freq": "similar filters are kept",
}


@dataclass
class NetOptions:
    """Keys of [net], by their names in the file, with Darknet's defaults.

    For lists the default is None; where Darknet derives a default from other keys, so do we.
    """

    batch: int = 1
    subdivisions: int = 1
    time_steps: int = 1
    width: int = 0
    height: int = 0
    channels: int = 0
    inputs: int = 0

    max_batches: int = 0
    learning_rate: float = 0.001
    learning_rate_min: float = 0.00001
    policy: str = "constant"
    burn_in: int = 0
    power: float = 4.0
    steps: list = field(default_factory=list)
    scales: list = field(default_factory=list)
    step: int = 1
    scale: float = 1.0
    gamma: float = 1.0
    sgdr_cycle: int = 0
    sgdr_mult: int = 2
    momentum: float = 0.9
    decay: float = 0.0001
    adam: int = 0
    B1: float = 0.9
    B2: float = 0.999
    eps: float = 0.000001
    ema_alpha: float = 0.0
    loss_scale: float = 1.0
    resize_step: int = 32
    dynamic_minibatch: int = 0

    angle: float = 0.0
    aspect: float = 1.0
    saturation: float = 1.0
    exposure: float = 1.0
    hue: float = 0.0
    flip: int = 1
    blur: int = 0
    gaussian_noise: int = 0
    mixup: int = 0
    cutmix: int = 0
    mosaic: int = 0
    mosaic_bound: int = 0
    letter_box: int = 0
    label_smooth_eps: float = 0.0
    equidistant_point: int = 0
    badlabels_rejection_percentage: float = 0.0
    num_sigmas_reject_badlabels: float = 0.0
    min_crop: int = 0
    max_crop: int = 0
    contrastive_jit_flip: int = 0
    contrastive_color: int = 0

    track: int = 0
    augment_speed: int = 2
    sequential_subdivisions: int = 0
    seq_scales: list = field(default_factory=list)

    @classmethod
    def read(cls, section):
        """The options that a [net] section holds."""
        options = cls(**{f.name: _value(section, f) for f in fields(cls) if f.name != "policy"})
        options.policy = section.choice("policy", POLICIES, "constant")
        section.ignore(*IGNORED)
        _warn_absent(section)
        options._derive(section)
        options._check(section)
        section.warn_unknown()
        return options

    def _derive(self, section):
        """Defaults that follow from other keys."""
        self.inputs = self.inputs or self.height * self.width * self.channels
        self.min_crop = section.int("min_crop", self.width)
        self.max_crop = section.int("max_crop", 2 * self.width)
        self.sgdr_cycle = section.int("sgdr_cycle", self.max_batches)
        self.sequential_subdivisions = self.sequential_subdivisions or self.subdivisions

    def _check(self, section):
        if not self.inputs:
            raise section.error("needs width, height and channels, each at least 1")
        if self.policy == "steps" and not (self.steps and self.scales):
            raise section.error("policy=steps needs the keys steps and scales", "policy")
        if len(self.scales) < len(self.steps):
            raise section.error(
                f"has {len(self.steps)} steps but {len(self.scales)} scales", "scales"
            )
        if self.batch % self.subdivisions:
            section.warn(
                f"batch={self.batch} is no multiple of subdivisions={self.subdivisions}: an "
                f"iteration takes {self.effective_batch} images",
                "batch",
            )

    @property
    def mini_batch(self):
        """Images that go through the network at once in training."""
        return max(1, self.batch // self.subdivisions) * self.time_steps

    @property
    def effective_batch(self):
        """Images between two updates of the weights."""
        return self.mini_batch * self.subdivisions

    def sequence(self, iteration):
        """Mini-batches that one sequence of video frames lasts for (track=1)."""
        if not self.track:
            return 1
        parts = self.sequential_subdivisions
        for step, scale in zip(self.steps, self.seq_scales, strict=False):
            parts *= scale if step <= iteration else 1
        parts = min(max(1, int(parts)), self.subdivisions)
        return max(1, self.subdivisions // parts)

    @property
    def input_shape(self):
        """(C, H, W); a plain vector of inputs is (inputs, 1, 1)."""
        if self.height * self.width * self.channels:
            return self.channels, self.height, self.width
        return self.inputs, 1, 1


# Smallest values that mean something; other whole numbers start at 0, other numbers anywhere.
_MINIMUM = dict.fromkeys(
    ("batch", "subdivisions", "time_steps", "step", "sgdr_mult", "resize_step"), 1
)


def _value(section, option):
    if option.type is list:
        return _steps(section) if option.name == "steps" else section.floats(option.name, [])
    if option.type is int:
        minimum = _MINIMUM.get(option.name, 0)
        return section.int(option.name, option.default, minimum, LARGEST_INT)
    return section.float(option.name, option.default)


def _steps(section):
    steps = section.ints("steps", [])
    if steps != sorted(steps):
        section.warn(
            "the steps are not in rising order; those after a larger one wait for it", "steps"
        )
    return steps


def _warn_absent(section):
    for key, instead in ABSENT.items():
        if section.float(key, 0.0):
            section.warn(f"{key} has no effect: {instead}", key)
