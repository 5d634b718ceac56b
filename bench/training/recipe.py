"""How students are trained. It belongs to the board: methods never see it (law 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from bench.contract.errors import BenchError
from bench.contract.fields import expect
from bench.contract.keys import later
from bench.contract.typed import Above0, AtLeast0, Count, Share, Whole, settle

DSA_OPERATIONS = ("color", "crop", "cutout", "flip", "scale", "rotate")
DEFAULT_STEPS = 300

Batch = Annotated[int, Meta(ge=2, description="2 or more (BatchNorm has no batch of one)")]
Between = Annotated[float, Meta(gt=0, lt=1, description="fractions of the run, in (0, 1)")]
Betas = Annotated[tuple[Share, Share], Meta(description="two numbers in [0, 1)")]
ORDERED = "two areas with 0 < smallest <= largest <= 1, or empty"
Areas = Annotated[tuple[float, ...], Meta(description=ORDERED)]
Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Recipe:
    """A training recipe; the fields are those of the `[recipe]` table of a board.

    Raises BenchError for a value that makes no sense.
    """

    steps: Whole = 0  # optimiser steps; give this or `epochs`, not both (neither: 300 steps)
    epochs: Whole = 0  # passes over the set
    batch: Batch = 256  # images per step; a smaller set is one batch
    optimizer: Optimizer = "sgd"
    lr: Above0 = 0.01
    momentum: Share = 0.9  # of sgd
    nesterov: bool = True  # of sgd: Nesterov's momentum; False: plain
    betas: Betas = (0.9, 0.999)  # of adamw
    weight_decay: AtLeast0 = 5e-4
    schedule: Literal["cosine", "step", "constant"] = "cosine"  # of lr; cosine: to 0
    milestones: tuple[Between, ...] = (0.5,)  # of "step": fractions of the run
    gamma: Above0 = 0.1  # of "step": factor at each milestone
    restart: bool = False  # of "step": a new optimiser at each milestone, without momentum
    warmup: Share = 0.0  # fraction of the run with a linear rise from 0
    crop: Whole = 0  # random shifts of up to this many pixels, zero padding
    flip: bool = False  # mirror images, on data sets where that keeps the label
    resized_crop: Areas = ()  # (smallest, largest) area of a random resized crop
    cutmix: AtLeast0 = 0.0  # alpha of the Beta distribution; 0: off
    mixup: AtLeast0 = 0.0  # alpha of the Beta distribution; 0: off
    dsa: str = ""  # differentiable Siamese augmentation: "color_crop_cutout_flip_scale_rotate"
    temperature: Above0 = 20.0  # of the teacher's labels (labels = "teacher")
    clip: AtLeast0 = 0.0  # largest gradient norm; 0: off
    channels_last: bool = False  # faster with BatchNorm on a CPU; other bytes
    bf16: bool = False  # autocast; faster where the processor has bf16 units; never exact
    formation: Whole = later(0)  # tiles along each side of an image, of which a student sees one
    # at a time, scaled up (IDC, IDM); 0: whole images
    shuffle: Whole = later(0)  # tiles along each side, put in another order before crops are cut:
    # whole columns, then whole rows of them; 0: off
    smoothing: Share = later(0.0)  # share of a label, in the cross-entropy, for all classes alike
    distillation: Literal["kl", "mse"] = later("kl")  # (labels = "teacher") "kl" of softened
    # distributions | "mse": mean squared distance of logits
    cross_entropy: AtLeast0 = later(0.0)  # (labels = "teacher") weight of the cross-entropy with
    # the class, beside the teacher's loss
    ema: Share = later(0.0)  # decay of the average of weights that is the student; 0: the last ones

    def __post_init__(self) -> None:
        settle(self, "recipe")
        if self.steps and self.epochs:
            raise BenchError(
                f"recipe has steps = {self.steps} and epochs = {self.epochs}; give one of the two"
            )
        area = self.resized_crop
        ordered = not area or (len(area) == 2 and 0 < area[0] <= area[1] <= 1)
        expect(ordered, "recipe.resized_crop", area, ORDERED)
        known = set(filter(None, self.dsa.split("_"))) <= set(DSA_OPERATIONS)
        operations = f"operations out of {', '.join(DSA_OPERATIONS)}, by '_'"
        expect(known, "recipe.dsa", self.dsa, operations)

    def shown(self, images: int) -> int:
        """How many images a student of a set of so many is shown, each as often as it is."""
        return self.epochs * images or (self.steps or DEFAULT_STEPS) * min(self.batch, images)


@dataclass(frozen=True)
class DiffusionRecipe:
    """How denoisers are trained, on a board of the generation track; as `Recipe` otherwise.

    Every set is shown `steps * batch` times an image, however small it is.
    """

    steps: Count = 2000  # optimiser steps
    checkpoints: tuple[Count, ...] = ()  # steps after which the student is sampled from as well
    batch: Count = 64  # images per step, each with a time and noise of its own
    optimizer: Optimizer = "adamw"
    lr: Above0 = 1e-3
    momentum: Share = 0.9  # of sgd
    betas: Betas = (0.9, 0.999)  # of adamw
    weight_decay: AtLeast0 = 0.0
    schedule: Literal["cosine", "constant"] = "constant"  # of lr; cosine: to 0
    warmup: Share = 0.05  # fraction of the run with a linear rise from 0
    clip: AtLeast0 = 1.0  # largest gradient norm; 0: off
    ema: Share = 0.999  # decay of the average of weights that is the student; 0: the last weights
    flip: bool = False  # mirror images, on data sets where that keeps the label
    noise: Literal["cosine", "linear", "straight"] = "cosine"  # path to noise
    prediction: Literal["noise", "image", "velocity"] = "velocity"  # of the network
    timesteps: Annotated[int, Meta(ge=2)] = 1000  # T
    dropout: Share = 0.1  # share of the images that are shown without their label
    projection: AtLeast0 = 0.5  # weight of the projection loss on features that a set attaches
    bf16: bool = False  # autocast; never exact

    def __post_init__(self) -> None:
        settle(self, "recipe")
        ordered = sorted({*self.checkpoints}) == [*self.checkpoints]
        wanted = "steps in rising order, as in [250, 500]"
        expect(ordered, "recipe.checkpoints", self.checkpoints, wanted)

    def shown(self, images: int) -> int:
        """How many images a student is shown."""
        return self.steps * self.batch
