"""The bricks that most boards stand on: one hook a kind, each returning its components."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_standard.architectures import ConvNet
from bench_standard.attacks import FGSM, PGD, Clean
from bench_standard.datasets import Digits
from bench_standard.methods import Full, Herding, KCenter, Random
from bench_standard.metrics import Accuracy, WorstClass
from bench_standard.teachers import Standard


@hookimpl
def bench_datasets() -> Sequence[Any]:
    return [Digits()]


@hookimpl
def bench_teachers() -> Sequence[Any]:
    return [Standard()]


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [Random(), KCenter(), Herding(), Full()]


@hookimpl
def bench_architectures() -> Sequence[Any]:
    return [ConvNet(), ConvNet("convnet-bn", norm="batch")]


@hookimpl
def bench_attacks() -> Sequence[Any]:
    return [Clean(), FGSM(), PGD()]


@hookimpl
def bench_metrics() -> Sequence[Any]:
    return [Accuracy(), WorstClass()]
