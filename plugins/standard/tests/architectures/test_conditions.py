import pytest
import torch
from torch.nn import functional as F

from bench import Unsupported
from bench.training import diffusion, toy
from bench.training.classifier import Examples
from bench.training.denoiser import fit
from bench.training.recipe import DiffusionRecipe
from bench_standard.architectures.conditions import Conditions, Projection, check
from bench_standard.architectures.dit import DIT_NANO
from bench_standard.architectures.unet import UNet

CLASSES, LENGTH, SIZE, WIDTH = 3, 5, 6, 8
TEXT = {"class.text": (LENGTH, SIZE)}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def extras():
    return {"class.text": torch.randn(CLASSES, LENGTH, SIZE)}


def test_without_a_text_the_vector_is_the_embedding_of_the_class():
    conditions = Conditions(CLASSES, WIDTH, {"image.features": (2, 3, 3)})
    labels = torch.tensor([2, 0, CLASSES])
    assert torch.equal(conditions(labels, {}), conditions.label.weight[labels])


def test_a_text_is_pooled_by_a_linear_map_and_a_residual_mlp(extras):
    conditions = Conditions(CLASSES, WIDTH, TEXT)
    labels = torch.tensor([1, 2, 1])
    tokens = extras["class.text"][labels]
    pooled = torch.einsum("bld,wdl->bw", tokens, conditions.pool.weight) + conditions.pool.bias
    _, first, _, second = conditions.mix
    hidden = F.silu(first(F.layer_norm(pooled, (WIDTH,))))
    expected = conditions.label.weight[labels] + pooled + second(hidden)
    assert torch.allclose(conditions(labels, extras), expected, atol=1e-6)


def test_no_class_has_tokens_of_zeros_whatever_the_texts(extras):
    conditions = Conditions(CLASSES, WIDTH, TEXT)
    none = torch.tensor([CLASSES])
    zeros = {"class.text": torch.zeros(CLASSES, LENGTH, SIZE)}
    said = conditions(none, extras)
    assert torch.equal(said, conditions(none, zeros))
    pooled = conditions(torch.tensor([0]), zeros) - conditions.label.weight[0]
    assert torch.allclose(said - conditions.label.weight[CLASSES], pooled, atol=1e-6)


def test_the_text_has_a_gradient_where_a_class_is_asked_for(extras):
    text = extras["class.text"].requires_grad_()
    Conditions(CLASSES, WIDTH, TEXT)(torch.tensor([1, CLASSES]), extras).sum().backward()
    assert text.grad.flatten(1).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("key", "row"),
    [("class.audio", (2, 3)), ("image.depth", (1, 4, 4)), ("class.text", (7,))],
)
def test_what_it_has_no_use_for_is_declined_by_name(key, row):
    check("mine", TEXT | {"image.features": (2, 3, 3)})
    with pytest.raises(Unsupported, match=rf"mine has no use for the attachment '{key}'"):
        check("mine", {key: row})


@pytest.mark.parametrize(
    ("grid", "row"), [((7, 7), (5, 7, 7)), ((7, 7), (5, 4, 4)), ((2, 4), (3, 6, 3))]
)
def test_a_projection_is_an_mlp_of_each_token_then_adaptive_average_pooling(grid, row):
    head = Projection(WIDTH, grid, row)
    tokens = torch.randn(2, grid[0] * grid[1], WIDTH)
    maps = head.mlp(tokens).mT.unflatten(2, grid)
    assert torch.allclose(head(tokens), F.adaptive_avg_pool2d(maps, row[1:]), atol=1e-6)


def test_a_projection_keeps_the_grid_out_of_its_state():
    state = Projection(WIDTH, (4, 4), (3, 2, 2)).state_dict()
    assert all(name.startswith("mlp.") for name in state)


@pytest.mark.parametrize("architecture", [DIT_NANO, UNet(widths=(8, 8))], ids=lambda a: a.name)
@pytest.mark.parametrize("bf16", [False, True])
def test_features_and_texts_are_learnt_by_the_trainer_in_either_precision(architecture, bf16):
    data = toy.GRAY.load()
    count, classes = len(data.train.labels), len(data.classes)
    attached = {
        "class.text": torch.randn(classes, 4, 6),
        "image.features": torch.randn(count, 5, 2, 2),
    }
    denoiser = diffusion.build(
        architecture, data.shape, classes, extras=diffusion.rows_of(attached)
    )
    before = {name: tensor.clone() for name, tensor in denoiser.network.named_parameters()}
    examples = Examples(data.train, torch.arange(count), data.train.labels)
    recipe = DiffusionRecipe(steps=5, batch=16, lr=0.01, warmup=0.0, bf16=bf16)
    fit(denoiser, examples, recipe, seed=0, extras=attached)
    after = dict(denoiser.network.named_parameters())
    for part in ("projection.mlp.0", "conditions.pool", "conditions.label"):
        assert not torch.equal(after[f"{part}.weight"], before[f"{part}.weight"])


def test_tokens_of_an_image_are_added_to_those_of_its_class_and_dropped_with_them(extras):
    conditions = Conditions(CLASSES, WIDTH, TEXT | {"image.text": (LENGTH, SIZE)})
    labels, own = torch.tensor([1, 1, CLASSES]), torch.randn(3, LENGTH, SIZE)
    said = conditions(labels, {**extras, "image.text": own})
    for row in (0, 1):
        table = {"class.text": extras["class.text"] + own[row]}
        assert torch.allclose(said[row], conditions(labels[row : row + 1], table)[0], atol=1e-6)
    alone = conditions(labels, extras)
    assert torch.allclose(said[2], alone[2], atol=1e-6)
    assert not torch.allclose(said[0], alone[0])
    zeros = {**extras, "image.text": torch.zeros_like(own)}
    assert torch.allclose(conditions(labels, zeros), alone, atol=1e-6)


@pytest.mark.parametrize("rows", [{}, {"class.text": (LENGTH + 1, SIZE)}])
def test_tokens_of_an_image_need_those_of_its_class(rows):
    check("mine", TEXT | {"image.text": (LENGTH, SIZE)})
    with pytest.raises(Unsupported, match=r"mine adds the attachment 'image.text' to 'class.text'"):
        check("mine", {**rows, "image.text": (LENGTH, SIZE)})
