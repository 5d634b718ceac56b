import pytest
import torch
from torch import nn

from bench import BenchError, TensorSplit, Unsupported
from bench.training import networks, untouched
from bench_inversion import statistics
from bench_inversion.statistics import Statistics, distance, of_classes, recording, running, survey
from bench_standard.architectures.convnet import CONVNET, ConvNet

CLASSES = 3
SIZES = (5, 40, 12)


def network(shape=(1, 8, 8)):
    """Two BatchNorm layers whose running statistics are no longer the initial ones."""
    torch.manual_seed(0)
    made = networks.build(ConvNet(width=6, depth=2, norm="batch"), shape, CLASSES, [0.4], [0.3])
    made.train()(torch.rand(64, *shape))
    return made.eval()


def split(shape=(1, 8, 8)):
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(SIZES))
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(len(labels), *shape, generator=generator)
    return TensorSplit(pixels * (0.3 + labels.view(-1, 1, 1, 1) / 4), labels)


def inputs_of(net, images):
    """What enters each BatchNorm layer, all images in one batch."""
    seen = []
    layers = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [m.register_forward_hook(lambda _, x, __: seen.append(x[0])) for m in layers]
    net(images)
    for handle in handles:
        handle.remove()
    return seen


def plain_distance(net, images, target, groups, first):
    """As published: each group on its own, `torch.mean` and `torch.var`."""
    total = 0.0
    for g, (members, share) in enumerate(groups):
        start = 0
        for number, x in enumerate(inputs_of(net, images)):
            x, w = x[members], (share / share.sum()).view(-1, 1, 1, 1)
            mean = (w * x).sum(0).mean((1, 2))
            variance = (w * (x - mean.view(1, -1, 1, 1)).square()).sum(0).mean((1, 2))
            part = slice(start, start := start + x.shape[1])
            wanted = [s[g, part] if s.ndim == 2 else s[part] for s in target]
            gap = (mean - wanted[0]).norm() + (variance - wanted[1]).norm()
            total = total + gap * (first if number == 0 else 1) / len(groups)
    return total


def measured(net, images, target, weights, first=1.0):
    with recording(net) as moments:
        net(images)
        return distance(moments(), target, weights, first=first)


def test_the_statistics_of_a_class_are_those_of_all_its_images_in_one_batch():
    net, real = network(), split()
    found = of_classes(net, real, CLASSES)
    assert found.widths == (6, 6)
    exact = network().double()
    for k in range(CLASSES):
        inputs = inputs_of(exact, real.pixels[real.labels == k].double())
        mean = torch.cat([x.mean((0, 2, 3)) for x in inputs])
        variance = torch.cat([x.var((0, 2, 3), correction=0) for x in inputs])
        torch.testing.assert_close(found.mean[k].double(), mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found.variance[k].double(), variance, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 7, 39])
def test_neither_statistics_nor_features_depend_on_batches(batch):
    net, real = network(), split()
    index = torch.arange(len(real))
    pooled, features = survey(net, real, index)
    again, more = survey(net, real, index, batch=batch)
    torch.testing.assert_close(again.mean, pooled.mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(again.variance, pooled.variance, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(more, features, rtol=1e-5, atol=1e-6)


def test_a_survey_returns_what_enters_the_classifier_row_by_row():
    net, real = network(), split()
    index = torch.tensor([3, 50, 7])
    with torch.no_grad():
        expected = networks.features(net, real.pixels[index])[0]
    torch.testing.assert_close(survey(net, real, index)[1], expected)


def test_a_survey_looks_in_eval_mode_and_leaves_the_network_as_found():
    net, real = network().train(), split()
    before = untouched.fingerprint(net)
    found = survey(net, real, torch.arange(20))[0]
    untouched.check_untouched(before, net, "survey")
    assert torch.equal(found.mean, survey(network(), real, torch.arange(20))[0].mean)


def test_running_statistics_are_copies_of_what_the_layers_keep():
    net = network()
    kept = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    found = running(net)
    assert torch.equal(found.mean, torch.cat([m.running_mean for m in kept]))
    assert torch.equal(found.variance, torch.cat([m.running_var for m in kept]))
    found.mean.zero_()
    assert kept[0].running_mean.abs().sum() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("first", [1.0, 10.0])
def test_the_distance_and_its_gradient_are_those_of_the_definition(layout, by_class, first):
    exact, net = network().double(), network().to(memory_format=layout)
    target = of_classes(net, split(), CLASSES) if by_class else running(net)
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(CLASSES * 4, 1, 8, 8, generator=generator)
    weights = 0.5 + torch.rand(CLASSES, 4, generator=generator)
    weights = weights if by_class else weights.view(1, -1)
    rows = torch.arange(12).view(weights.shape)

    x = images.double().requires_grad_()
    groups = list(zip(rows, weights.double(), strict=True))
    wanted = (target.mean.double(), target.variance.double())
    expected = plain_distance(exact, x, wanted, groups, first)
    expected.backward()
    y = images.clone().requires_grad_()
    found = measured(net, y, target, weights, first)
    found.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(y.grad.double(), x.grad, rtol=1e-3, atol=1e-5 * first)


def test_real_images_of_each_class_are_at_distance_zero_in_any_order():
    net, real = network(), split()
    index = torch.cat([(real.labels == k).nonzero()[:5] for k in range(CLASSES)]).squeeze(1)
    few = TensorSplit(real.pixels[index], real.labels[index])
    target, ones = of_classes(net, few, CLASSES), torch.ones(CLASSES, 5)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = few.pixels.view(CLASSES, 5, 1, 8, 8)[:, order].flatten(0, 1)
    others = torch.rand(few.pixels.shape, generator=torch.Generator().manual_seed(2))
    assert measured(net, few.pixels, target, ones) < 1e-5
    assert measured(net, shuffled, target, ones) < 1e-5
    assert measured(net, others, target, ones) > 0.1


def test_a_weight_of_two_is_an_image_twice():
    net, real = network(), split()
    target = running(net)
    twice = measured(net, real.pixels[[0, 0, 1]], target, torch.ones(1, 3))
    weighted = measured(net, real.pixels[[0, 1]], target, torch.tensor([[2.0, 1.0]]))
    torch.testing.assert_close(weighted, twice)
    assert weighted != measured(net, real.pixels[[0, 1]], target, torch.ones(1, 2))


def test_the_gradient_is_zero_where_both_sides_agree():
    net, images = network(), split().pixels[:6].clone().requires_grad_()
    with recording(net) as moments:
        net(images)
        mean, square = moments()
        mean, square = mean.view(2, 3, -1), square.view(2, 3, -1)
        share = torch.full((2, 3), 1 / 3)
        mean, square = (torch.einsum("gm,gmc->gc", share, m) for m in (mean, square))
        target = Statistics(mean.detach(), (square - mean.square()).detach(), (6, 6))
    loss = measured(net, images, target, torch.ones(2, 3))
    loss.backward()
    assert loss == 0
    assert images.grad.abs().max() == 0


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 4), (3, 4, 6)])
def test_the_gradient_of_sums_and_squares_is_right(shape):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(statistics._Sums.apply, x)
    if len(shape) == 4:
        x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
        assert torch.autograd.gradcheck(statistics._Sums.apply, x)


def test_layers_of_vectors_have_statistics_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.BatchNorm1d(7), nn.Linear(7, 3)).eval()
    real = split()
    found = survey(net, real, torch.arange(10))[0]
    inside = net[1](real.pixels[:10].flatten(1))
    torch.testing.assert_close(found.mean, inside.mean(0))
    torch.testing.assert_close(found.variance, inside.var(0, correction=0))


def test_a_network_without_batchnorm_is_declined():
    net = networks.build(CONVNET, (1, 8, 8), CLASSES, [0.4], [0.3])
    for ask in (running, lambda n: survey(n, split(), torch.arange(2))):
        with pytest.raises(Unsupported, match="no BatchNorm layer"):
            ask(net)


def test_layers_that_keep_no_statistics_are_declined():
    net = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    with pytest.raises(Unsupported, match="keeps no running statistics"):
        running(net)


def test_a_layer_that_is_called_twice_is_an_error():
    layer = nn.BatchNorm2d(1)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    with recording(net) as moments:
        net(torch.rand(2, 1, 3, 3))
        with pytest.raises(BenchError, match="called twice in one pass"):
            moments()


def test_a_class_without_images_is_an_error():
    with pytest.raises(BenchError, match="no training images"):
        of_classes(network(), split(), CLASSES + 1)
