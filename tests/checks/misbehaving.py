"""Components whose checks do not go well; workers import them from here."""

import os
import sys
import time
from dataclasses import dataclass

from bench.contract.task import CondensedSet, Task
from bench.training import toy


@dataclass(frozen=True)
class Fine(toy.ToyMeans):
    """Mean images."""

    name: str = "fine"


@dataclass(frozen=True)
class Crashes(toy.ToyMeans):
    """Takes its process down."""

    name: str = "crashes"

    def condense(self, task: Task) -> CondensedSet:
        os.abort()


@dataclass(frozen=True)
class Hangs(toy.ToyMeans):
    """Never comes back."""

    name: str = "hangs"

    def condense(self, task: Task) -> CondensedSet:
        while True:
            time.sleep(1)


@dataclass(frozen=True)
class Talks(toy.ToyMeans):
    """Prints."""

    name: str = "talks"

    def condense(self, task: Task) -> CondensedSet:
        sys.stdout.write("words of a component\n")
        os.write(2, b"more words\n")
        return super().condense(task)


@dataclass(frozen=True)
class NamesNobody(toy.ToyMeans):
    """Asks for a teacher that is not installed."""

    name: str = "names-nobody"
    teacher: str = "nobody-at-all"
