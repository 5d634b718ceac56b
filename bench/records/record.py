"""What the files of a board hold: records of sets, of their students, and of probes of those.

A fact stands once, at the level that it belongs to. A *set* is what a student trains on: images,
and labels of one regime; so its weight and the teacher that labels belong to it. A *student* is
one network trained on a set, at one checkpoint of its training. A *probe* is what an attack or a
sampler made of a student. Each record is one line of JSON whose types and bounds stand here;
descriptions, recipes, versions, environments and scales are `Note`s, which records name by digest.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from bench.contract.kinds import Regime

FORMAT = 2
"""Raised by one with every change of these types that an older reader cannot read."""

NOTHING = 0.0
"""Of a share that most records lack: a default is not written where it is this very object."""

Name = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Figure = Annotated[float, Meta(ge=-1e100, le=1e100)]  # whose square is a number, too
Amount = Annotated[float, Meta(ge=0, le=1e100)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Radius = Annotated[float, Meta(ge=0, le=1e6)]  # in pixels of [0, 1]
Settings = dict[str, Any]
Bits = bytes  # packed, one an image; base64 in JSON

LEVEL_OF = {
    **dict.fromkeys(("dataset", "method", "teacher", "scorer", "backbone", "denoiser"), "set"),
    **dict.fromkeys(("set", "squeeze", "survey", "condense"), "set"),
    **dict.fromkeys(("architecture", "recipe", "student", "train"), "student"),
}
"""The level of what goes by the name of a role, or of a kind of stage; of others, "probe"."""


class Plain(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """Of records and their parts: a field that is not known is refused, a default not written.

    None holds itself, so that the garbage collector need not look at a hundred thousand of them.
    """


class Scale(Plain, frozen=True, kw_only=True):
    """How to read a metric, and what it looks at.

    `tolerance` (absolute, relative) is how far a recomputation elsewhere may lie off. Figures
    that two networks (`features`), or two versions of the code (`measured_by`), have found are not
    comparable.
    """

    better: Literal["higher", "lower", "neither"]
    unit: str = ""
    of: Literal["set", "student", "probe"] = "probe"
    tolerance: tuple[Amount, Amount] | None = None
    features: str = ""
    measured_by: str = ""

    @property
    def rate(self) -> bool:
        """Is it a fraction, which tables show in percent?"""
        return self.unit == "fraction"


class Passes(Plain, frozen=True, kw_only=True):
    """Images that went forward through a network, and whose gradients came back."""

    forward: Count = 0
    backward: Count = 0


class Moved(Plain, frozen=True, kw_only=True):
    """By how much an attack has moved images, in one norm."""

    mean: Amount
    max: Amount


class Part(Plain, frozen=True, kw_only=True):
    """A part of an attack, and how many images were still right after it."""

    name: Name
    search: str
    standing: Count


class Level(Plain, frozen=True, kw_only=True):
    """What records of all three levels have; `about` and `scales` name notes."""

    about: str = ""
    parameters: dict[str, Settings] = {}  # by role: fields that differ from their defaults
    code: dict[str, str] = {}  # by role
    content: dict[str, str] = {}  # by stage: the hash of what it gave; of a set that was declined,
    passes: dict[str, Passes] = {}  # none
    seconds: dict[str, Amount] = {}
    metrics: dict[str, Figure] = {}
    refused: dict[str, str] = {}  # metrics that were declined, and why
    scales: str = ""


class SetRecord(Level, frozen=True, kw_only=True, tag_field="level", tag="set"):
    """A condensed set with the labels that students see. `id` is a digest of all but seconds."""

    id: Name
    dataset: Name
    method: Name
    ipc: Count  # 0: the full set
    labels: Regime
    seed: Count
    evaluate: str = "test"
    data: dict[str, str] = {}  # digests of the data set and of its classes
    pictured: bool = False
    size: Count = 0
    bytes: dict[str, Count] = {}


class StudentRecord(Level, frozen=True, kw_only=True, tag_field="level", tag="student"):
    """A network trained on a set; at an end that samples do without, the set itself."""

    id: Name
    set: Name
    architecture: Name
    step: Count = 0  # of its training; 0: its end
    recipe: str = ""


class ProbeRecord(Level, frozen=True, kw_only=True, tag_field="level", tag="probe"):
    """What an attack or a sampler made of a student; or the `reason` why the cell was declined.

    `id` is a digest of all but seconds; "" where an earlier version has written it.
    """

    id: str = ""
    student: Name
    attack: str = ""
    sampler: str = ""
    reason: str = ""
    protocol: Count  # of the harness, when the probe was made
    versions: str = ""
    environment: str = ""
    peak_mb: Amount = 0.0
    images: Count = 0
    images_hash: str = ""
    correct: Bits = b""
    norm: Literal["linf", "l2", ""] = ""
    eps: Radius | None = None
    perturbation: dict[str, Moved] = {}
    attack_search: str = ""
    attack_family: str = ""
    no_gradient: Fraction = 0.0
    not_finite: Fraction = NOTHING
    slope: Figure | None = None
    fell_further: Fraction = NOTHING
    parts: tuple[Part, ...] = ()
    sampled: tuple[Count, ...] = ()


Record = SetRecord | StudentRecord | ProbeRecord


class Note(Plain, frozen=True, kw_only=True):
    """What many records of a board say, once, under the digest that they name it by."""

    digest: Name
    kind: Literal["about", "environment", "recipe", "scales", "versions"]
    value: Settings


NOTES: dict[str, Any] = {
    "about": dict[str, str],
    "environment": Settings,
    "recipe": Settings,
    "scales": dict[str, Scale],
    "versions": dict[str, str],
}
"""The type of a note's value, by kind."""


class Head(Plain, frozen=True, kw_only=True):
    """The first line of every file: the form of the others."""

    format: Count
