from dataclasses import replace

import pytest
import torch
from torch import nn

from bench import BenchError, Selection, Task, TensorSplit
from bench.checks import checks_for
from bench_standard.dynamics import Dynamics, dynamics
from bench_standard.scored import (
    CCS,
    EL2N,
    EL2N_EASY,
    FORGETTING_EASY,
    Forgetting,
    covering,
    difficulty_by_forgetting,
)

CLASSES, EACH, WRONG = 3, 40, 5
SCORED = [EL2N(), EL2N_EASY, Forgetting(), FORGETTING_EASY, CCS()]
FAST = {"networks": 2, "epochs": 3, "batch": 16, "lr": 0.2}


def split():
    """Bright bands that tell the class; of the first images of each, the label is another."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.arange(CLASSES).repeat_interleave(EACH)
    pixels = 0.3 * torch.rand(len(shown), 1, 6, 6, generator=generator)
    for row, label in enumerate(shown.tolist()):
        pixels[row, :, 2 * label : 2 * label + 2] += 0.6
    labels = shown.clone()
    for label in range(CLASSES):
        labels[EACH * label : EACH * label + WRONG] = (label + 1) % CLASSES
    return TensorSplit(pixels, labels)


def mislabelled():
    return (torch.arange(CLASSES)[:, None] * EACH + torch.arange(WRONG)).flatten()


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))


def task(ipc=1, seed=0, checkpoint=None):
    torch.manual_seed(seed)
    given = {} if checkpoint is None else {"checkpoint": checkpoint}
    return Task(
        train=split(),
        classes=("a", "b", "c"),
        shape=(1, 6, 6),
        mean=(0.5,),
        std=(0.3,),
        flip=False,
        ipc=ipc,
        seed=seed,
        networks={"backbone": network},
        **given,
    )


@pytest.mark.parametrize("check", checks_for("method", CCS()), ids=str)
def test_scored_coresets_keep_the_contract(check):
    check.run()


@pytest.mark.parametrize("method", SCORED, ids=lambda m: m.name)
@pytest.mark.parametrize("ipc", [1, 10])
def test_each_class_gets_its_own_budget_of_images_that_differ(method, ipc):
    condensed = replace(method, **FAST).condense(task(ipc))
    assert isinstance(condensed.images, Selection)
    index = condensed.images.indices
    assert torch.equal(split().labels[index], torch.arange(CLASSES).repeat_interleave(ipc))
    assert len(set(index.tolist())) == CLASSES * ipc


def test_methods_that_ask_alike_share_their_trainings():
    assert EL2N().survey == EL2N_EASY.survey
    assert Forgetting().survey == FORGETTING_EASY.survey != EL2N().survey
    given = replace(EL2N(), **FAST)
    known = {given.survey: given.survey.survey(task())}
    made = given.condense(replace(task(), surveys=known, networks={}))  # trains nothing
    assert torch.equal(made.images.indices, given.condense(task()).images.indices)


# ---- scores


def test_el2n_is_the_length_of_softmax_minus_one_hot_at_the_last_epoch_of_each_network():
    labels = torch.tensor([0, 1])
    one, two = torch.tensor([[0.7, 0.3], [0.2, 0.8]]), torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    seen = Dynamics.of(labels)
    seen.see(torch.full((2, 2), 0.5), first=True)
    seen.see(one, last=True)
    seen.see(two, first=True, last=True)
    wanted = (0.18**0.5 + 0.5**0.5, 0.08**0.5 + 1.62**0.5)
    assert seen.error.tolist() == pytest.approx(wanted)


def test_forgetting_counts_how_often_an_image_goes_from_right_to_wrong():
    histories = {"1111": 0, "0111": 0, "1010": 2, "1101": 1, "0100": 1, "1000": 1}
    seen = Dynamics.of(torch.zeros(len(histories), dtype=torch.int64))
    for epoch in range(4):
        right = torch.tensor([float(history[epoch]) for history in histories])
        p = torch.stack([right, 1 - right], 1)
        seen.see(p, first=epoch == 0, last=epoch == 3)
    assert seen.forgotten.tolist() == list(histories.values())


def test_a_new_network_has_forgotten_nothing_yet():
    seen, right, wrong = Dynamics.of(torch.tensor([0])), [[1.0, 0]], [[0.0, 1]]
    seen.see(torch.tensor(right), first=True, last=True)
    seen.see(torch.tensor(wrong), first=True, last=True)
    assert seen.forgotten.tolist() == [0]


def test_what_was_never_learnt_is_harder_than_what_was_forgotten_most():
    seen = Dynamics.of(torch.tensor([0, 0]))
    for right in (1.0, 0.0, 1.0, 0.0):
        seen.see(torch.tensor([[right, 1 - right], [0.0, 1.0]]))
    assert difficulty_by_forgetting(seen).tolist() == [2, 3]


def test_the_margin_is_that_of_the_label_over_the_next_class_summed_over_epochs():
    seen = Dynamics.of(torch.tensor([1]))
    seen.see(torch.tensor([[0.1, 0.6, 0.3]]))
    seen.see(torch.tensor([[0.7, 0.2, 0.1]]))
    assert seen.margin.tolist() == pytest.approx([0.3 - 0.5])


@pytest.mark.parametrize("score", ["error", "margin", "forgotten"])
def test_wrong_labels_are_the_hardest_by_every_score(score):
    seen = dynamics(task(), replace(EL2N(), **FAST | {"epochs": 6, "lr": 0.05}))
    hard = {
        "error": seen.error,
        "margin": -seen.margin,
        "forgotten": difficulty_by_forgetting(seen),
    }[score]
    hardest = hard.argsort(descending=True)[: CLASSES * WRONG]
    assert torch.equal(hardest.sort()[0], mislabelled())


def test_hard_takes_what_is_labelled_wrongly_and_easy_and_ccs_do_not():
    how = FAST | {"epochs": 6, "lr": 0.05}
    taken = {
        m.name: m.condense(task(WRONG)).images.indices
        for m in (replace(one, **how) for one in SCORED)
    }
    wrong = {name: int(torch.isin(index, mislabelled()).sum()) for name, index in taken.items()}
    all_of_them = CLASSES * WRONG
    assert wrong == {
        "el2n": all_of_them,
        "forgetting": all_of_them,
        "el2n-easy": 0,
        "forgetting-easy": 0,
        "ccs": 0,
    }


# ---- strata


def drawn(hard, count, beta=0.0, strata=10, seed=0):
    return covering(hard, count, beta, strata, torch.Generator().manual_seed(seed))


def test_the_hardest_share_is_cut_off():
    hard = torch.rand(100, generator=torch.Generator().manual_seed(3))
    picked = drawn(hard, 40, beta=0.3)
    cut = hard.argsort(descending=True)[:30]
    assert not torch.isin(picked, cut).any()
    assert torch.isin(drawn(hard, 100), cut).any()


def test_a_cut_leaves_as_many_as_are_wanted():
    hard = torch.arange(10.0)
    assert sorted(drawn(hard, 9, beta=0.5).tolist()) == list(range(9))


def test_strata_have_equal_budgets_whatever_they_hold():
    hard = torch.cat([torch.full((90,), 0.0), torch.full((9,), 0.55), torch.full((3,), 0.999)])
    picked = drawn(hard, 15, strata=3)
    counts = [int((hard[picked] == v).sum()) for v in hard.unique()]
    assert counts == [6, 6, 3]  # the smallest gives all that it has, the others share the rest


def test_few_images_come_from_the_largest_strata():
    hard = torch.cat([torch.full((50,), 0.1), torch.full((5,), 0.9)])
    assert hard[drawn(hard, 1)].tolist() == pytest.approx([0.1])


def test_equal_scores_are_one_stratum():
    assert len(set(drawn(torch.zeros(20), 7).tolist())) == 7


# ---- the run


class Killed(Exception):
    pass


class Memory:
    """A checkpoint after every epoch, whose process dies after `last` of them.

    As that of the store, it counts the networks that were drawn before a kill.
    """

    def __init__(self, last):
        self.last, self.times, self.drawn, self.kept = last, 0, 0, ({}, 0)

    def load(self):
        tensors, self.drawn = self.kept
        return tensors

    def save(self, state):
        self.times += 1
        if self.times > self.last:
            raise Killed
        self.kept = ({name: one.clone() for name, one in state().items()}, self.drawn)

    def network(self):
        torch.manual_seed(self.drawn)
        self.drawn += 1
        return network()


@pytest.mark.parametrize("last", [1, 3, 4])
def test_a_run_that_was_killed_ends_with_the_scores_of_one_that_was_not(last):
    method, memory = replace(EL2N(), **FAST), Memory(last)

    def seen(memory):
        given = replace(task(checkpoint=memory), networks={"backbone": memory.network})
        return dynamics(given, method)

    whole = seen(Memory(99))
    with pytest.raises(Killed):
        seen(memory)
    memory.last = 99
    again = seen(memory)
    assert all(
        torch.equal(a, b) for a, b in zip(vars(whole).values(), vars(again).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("method", "fields", "words"),
    [
        (EL2N(), {"networks": 0}, "el2n: networks is 0; expected 1 or more"),
        (EL2N(), {"keep": "both"}, "el2n: keep is 'both'; expected 'hard' or 'easy'"),
        (Forgetting(), {"schedule": "step"}, "schedule is 'step'; expected 'constant' or 'cosine'"),
        (CCS(), {"beta": 1.0}, "ccs: beta is 1.0; expected a share in [0, 1)"),
        (CCS(), {"score": "loss"}, "ccs: score is 'loss'; expected 'margin' or 'error'"),
        (CCS(), {"strata": 0}, "ccs: strata is 0; expected 1 or more"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(method, fields, words):
    with pytest.raises(BenchError) as caught:
        replace(method, **fields)
    assert words in str(caught.value)
