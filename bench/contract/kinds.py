"""The seven kinds of component: their verbs, and the choices of their facts."""

from __future__ import annotations

import re

VERBS = {
    "dataset": "load",
    "teacher": "squeeze",
    "method": "condense",
    "architecture": "build",
    "attack": "perturb",
    "sampler": "sample",
    "metric": "measure",
}
"""The seven kinds of component, and the one method that each has."""


KINDS = tuple(VERBS)


TRACKS = ("classification", "generation")


NORMS = ("linf", "l2", "")  # balls of attacks; "": none


SEARCHES = ("", "noise", "black-box", "single-step", "iterative", "ensemble")  # `search` of attacks


LOOKS_AT = ("set", "student", "probe")  # `of` of metrics; samples are a probe of a generator


NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
