"""Samples of a student, or images of a set in their place."""

from __future__ import annotations

from bench.stages import sampling
from bench.stages.io import Progress, Result, condensed_of, examples_of, network_of, source_of
from bench.stages.probing import probed_images
from bench.stages.source import described
from bench.stages.stage import Work
from bench.store.store import Store
from bench.training import diffusion
from bench.training.diffusion import Denoiser


def run(work: Work, store: Store, progress: Progress) -> Result:
    """Samples of a student for the labels of the test images, or images of a set in their place."""
    source, condensed = source_of(work, store), condensed_of(work, store)
    facts, test = described(source.facts), source.split("test")
    index = probed_images(test, facts["digest"], work.parts["images"])
    if "student" not in work.above:
        examples = examples_of(condensed, source.split("train"))
        return sampling.drawn(examples, test, index, seed=work.seed)
    student = network_of(work.above["student"], store, facts, work.device, work.parts["step"])
    assert isinstance(student, Denoiser)
    return sampling.sample(
        work.parts["sampler"],
        student,
        test,
        index,
        diffusion.of_classes(condensed.extras),
        shape=facts["shape"],
        seed=work.seed,
        device=work.device,
        progress=progress,
    )
