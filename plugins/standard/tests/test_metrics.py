import pytest
import torch

from bench import BenchError, CondensedSet, Selection, Trial
from bench_standard.metrics import Accuracy, WorstClass


def trial(labels, clean, attacked, classes=4):
    condensed = CondensedSet(Selection(torch.arange(classes)), torch.eye(classes))
    logits = torch.eye(classes)
    return Trial(
        data=None,
        condensed=condensed,
        labels=torch.tensor(labels),
        clean_logits=logits[clean],
        logits=logits[attacked],
        norm="linf",
    )


GIVEN = trial(labels=[0, 0, 0, 2, 2, 3], clean=[0, 0, 1, 2, 2, 3], attacked=[0, 1, 0, 2, 0, 3])
# right on both: image 0 of class 0, image 3 of class 2, image 5 of class 3; class 1 is absent


def test_accuracy_counts_what_is_right_clean_and_under_attack():
    assert Accuracy().measure(GIVEN) == 3 / 6


def test_the_worst_class_is_the_lowest_among_those_present():
    assert WorstClass().measure(GIVEN) == 1 / 3


@pytest.mark.parametrize("metric", [Accuracy(), WorstClass()])
def test_the_bounds_are_reached(metric):
    values = (
        metric.measure(trial([0, 1], [1, 0], [1, 0])),
        metric.measure(trial([0, 1], [0, 1], [0, 1])),
    )
    assert values == metric.bounds
    assert all(type(value) is float for value in values)


@pytest.mark.parametrize("metric", [Accuracy(), WorstClass()])
def test_a_trial_without_logits_is_refused(metric):
    empty = Trial(data=None, condensed=GIVEN.condensed)
    with pytest.raises(BenchError, match="no logits"):
        metric.measure(empty)
