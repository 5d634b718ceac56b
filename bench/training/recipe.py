"""How students are trained. It belongs to the board: methods never see it (law 4)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bench.contract.errors import BenchError
from bench.contract.fields import at_least, choice, expect

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "step", "constant")
DEFAULT_STEPS = 300


@dataclass(frozen=True)
class Recipe:
    """A training recipe; the fields are those of the `[recipe]` table of a board.

    Raises BenchError for a value that makes no sense.
    """

    steps: int = 0  # optimiser steps; give this or `epochs`, not both (neither: 300 steps)
    epochs: int = 0  # passes over the set
    batch: int = 256  # images per step; a smaller set is one batch
    optimizer: str = "sgd"  # "sgd" | "adamw"
    lr: float = 0.01
    momentum: float = 0.9  # of sgd
    nesterov: bool = True  # of sgd: Nesterov's momentum; False: plain
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw
    weight_decay: float = 5e-4
    schedule: str = "cosine"  # "cosine" (to 0) | "step" | "constant"
    milestones: tuple[float, ...] = (0.5,)  # of "step": fractions of the run
    gamma: float = 0.1  # of "step": factor at each milestone
    restart: bool = False  # of "step": a new optimiser at each milestone, without momentum
    warmup: float = 0.0  # fraction of the run with a linear rise from 0
    crop: int = 0  # random shifts of up to this many pixels, zero padding
    flip: bool = False  # mirror images, on data sets where that keeps the label
    resized_crop: tuple[float, ...] = ()  # (smallest, largest) area of a random resized crop
    cutmix: float = 0.0  # alpha of the Beta distribution; 0: off
    mixup: float = 0.0  # alpha of the Beta distribution; 0: off
    dsa: str = ""  # differentiable Siamese augmentation: "color_crop_cutout_flip_scale_rotate"
    temperature: float = 20.0  # of the teacher's labels (labels = "teacher")
    clip: float = 0.0  # largest gradient norm; 0: off
    channels_last: bool = False  # faster with BatchNorm on a CPU; other bytes
    bf16: bool = False  # autocast; faster where the processor has bf16 units; never exact

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.type.startswith("tuple") and isinstance(getattr(self, f.name), list):  # TOML
                object.__setattr__(self, f.name, tuple(getattr(self, f.name)))
        if self.steps and self.epochs:
            raise BenchError(
                f"recipe has steps = {self.steps} and epochs = {self.epochs}; give one of the two"
            )
        choice("recipe.optimizer", self.optimizer, OPTIMIZERS)
        choice("recipe.schedule", self.schedule, SCHEDULES)
        for name in ("steps", "epochs", "crop", "weight_decay", "cutmix", "mixup", "clip"):
            at_least(f"recipe.{name}", getattr(self, name), 0)
        for name in ("lr", "temperature", "gamma"):
            self._check(name, getattr(self, name) > 0, "more than 0")
        self._check("batch", self.batch >= 2, "2 or more (BatchNorm has no batch of one)")
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")
        self._check("warmup", 0 <= self.warmup < 1, "a fraction of the run, in [0, 1)")
        betas = len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        self._check("betas", betas, "two numbers in [0, 1)")
        self._check("milestones", all(0 < m < 1 for m in self.milestones), "fractions in (0, 1)")
        area = self.resized_crop
        numbers = all(isinstance(a, int | float) for a in area)
        ok = not area or (numbers and len(area) == 2 and 0 < area[0] <= area[1] <= 1)
        self._check("resized_crop", ok, "two areas with 0 < smallest <= largest <= 1, or empty")
        known = set(filter(None, self.dsa.split("_"))) <= set(DSA_OPERATIONS)
        operations = f"operations out of {', '.join(DSA_OPERATIONS)}, by '_'"
        expect(known, "recipe.dsa", self.dsa, operations)

    def shown(self, images: int) -> int:
        """How many images a student of a set of so many is shown, each as often as it is."""
        return self.epochs * images or (self.steps or DEFAULT_STEPS) * min(self.batch, images)

    def _check(self, name: str, ok: bool, expected: str) -> None:
        expect(ok, f"recipe.{name}", getattr(self, name), expected)


@dataclass(frozen=True)
class DiffusionRecipe:
    """How denoisers are trained, on a board of the generation track; as `Recipe` otherwise.

    Every set is shown `steps * batch` times an image, however small it is.
    """

    steps: int = 2000  # optimiser steps
    checkpoints: tuple[int, ...] = ()  # steps after which the student is sampled from as well
    batch: int = 64  # images per step, each with a time and noise of its own
    optimizer: str = "adamw"  # "adamw" | "sgd"
    lr: float = 1e-3
    momentum: float = 0.9  # of sgd
    betas: tuple[float, float] = (0.9, 0.999)  # of adamw
    weight_decay: float = 0.0
    schedule: str = "constant"  # of the learning rate: "cosine" (to 0) | "constant"
    warmup: float = 0.05  # fraction of the run with a linear rise from 0
    clip: float = 1.0  # largest gradient norm; 0: off
    ema: float = 0.999  # decay of the average of weights that is the student; 0: the last weights
    flip: bool = False  # mirror images, on data sets where that keeps the label
    noise: str = "cosine"  # path to noise: "cosine" | "linear" | "straight"
    prediction: str = "velocity"  # of the network: "noise" | "image" | "velocity"
    timesteps: int = 1000  # T
    dropout: float = 0.1  # share of the images that are shown without their label
    projection: float = 0.5  # weight of the projection loss on features that a set attaches
    bf16: bool = False  # autocast; never exact

    def __post_init__(self) -> None:
        for f in fields(self):
            if f.type.startswith("tuple") and isinstance(getattr(self, f.name), list):  # TOML
                object.__setattr__(self, f.name, tuple(getattr(self, f.name)))
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", ("cosine", "constant")),
            ("noise", ("cosine", "linear", "straight")),
            ("prediction", ("noise", "image", "velocity")),
        ):
            choice(f"recipe.{name}", getattr(self, name), choices)
        for name, least in (("steps", 1), ("batch", 1), ("timesteps", 2)):
            at_least(f"recipe.{name}", getattr(self, name), least)
        for name in ("weight_decay", "clip", "projection"):
            at_least(f"recipe.{name}", getattr(self, name), 0)
        self._check("lr", self.lr > 0, "more than 0")
        for name in ("momentum", "ema", "warmup", "dropout"):
            self._check(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        betas = len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas)
        self._check("betas", betas, "two numbers in [0, 1)")
        whole = all(type(s) is int and s >= 1 for s in self.checkpoints)
        ordered = whole and sorted({*self.checkpoints}) == [*self.checkpoints]
        self._check("checkpoints", ordered, "steps in rising order, as in [250, 500]")

    def shown(self, images: int) -> int:
        """How many images a student is shown."""
        return self.steps * self.batch

    def _check(self, name: str, ok: bool, expected: str) -> None:
        expect(ok, f"recipe.{name}", getattr(self, name), expected)


DSA_OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
