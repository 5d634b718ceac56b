"""Sets condensed by matching what networks make of them: DC, DSA, DM, DataDAM, IDM, MTT."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_matching.datadam import DataDAM
from bench_matching.idm import IDM, IDM_START, IDM_WHOLE
from bench_matching.methods import DC, DM, DSA
from bench_matching.mtt import MTT, MTT_CIFAR_1, MTT_CIFAR_10


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [
        DC(),
        DSA(),
        DM(),
        DataDAM(),
        IDM(),
        IDM_WHOLE,
        IDM_START,
        MTT(),
        MTT_CIFAR_1,
        MTT_CIFAR_10,
    ]
