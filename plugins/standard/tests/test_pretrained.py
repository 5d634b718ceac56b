import hashlib

import pytest
import torch
from safetensors.torch import save_file

from bench import BenchError, Missing, Task, Unsupported
from bench.checks import checks_for, run_checks
from bench.training import networks, toy
from bench_standard import files
from bench_standard.architectures.mobilenet import MobileNetV2
from bench_standard.pretrained import MEAN, STD, Pretrained, TorchvisionImageNet

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("BENCH_DATA", str(folder))
    return folder


def task(architecture, classes=4, shape=SHAPE, mean=MEAN, std=STD):
    def backbone():
        return networks.build(architecture, shape, classes, mean, std)

    split = toy.ToyData(shape=shape, classes=2, train=1, test=1).load().train
    names = tuple(f"class {k}" for k in range(classes))
    return Task(
        split, names, shape, mean, std, True, ipc=0, seed=0, networks={"backbone": backbone}
    )


@pytest.fixture
def trained():
    torch.manual_seed(3)
    return networks.build(toy.ToyConvNet(), SHAPE, 4, MEAN, STD).eval()


@pytest.fixture
def file(data, trained):
    path = data / "mine.safetensors"
    save_file(networks.state(trained), path)
    return path


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("absolute", [False, True])
def test_the_teacher_is_the_network_that_was_saved(file, trained, absolute):
    named = str(file) if absolute else file.name
    teacher = Pretrained(file=named, sha256=sha256(file).upper()).squeeze(task(toy.ToyConvNet()))
    images = torch.rand(3, *SHAPE)
    assert not teacher.training
    assert torch.equal(teacher(images), trained(images))


def test_a_state_without_counters_of_batches_fits(data, trained):
    state = {k: v for k, v in networks.state(trained).items() if "num_batches" not in k}
    assert len(state) < len(networks.state(trained))
    save_file(state, data / "old.safetensors")
    digest = sha256(data / "old.safetensors")
    teacher = Pretrained(file="old.safetensors", sha256=digest).squeeze(task(toy.ToyConvNet()))
    images = torch.rand(3, *SHAPE)
    assert torch.equal(teacher(images), trained(images))


def test_a_folder_is_no_file(data):
    (data / "folder").mkdir()
    with pytest.raises(BenchError, match="is a folder; expected a safetensors file"):
        Pretrained(file="folder").squeeze(task(toy.ToyConvNet()))


def test_without_a_file_it_says_how_to_name_one():
    with pytest.raises(Missing, match=r"pretrained has no file; .* \[define"):
        Pretrained().squeeze(task(toy.ToyConvNet()))


def test_a_file_that_is_not_there_is_missing_and_its_place_is_named(data):
    with pytest.raises(Missing, match=f"expected {data}/none.safetensors"):
        Pretrained(file="none.safetensors").squeeze(task(toy.ToyConvNet()))


@pytest.mark.parametrize("given", ["", "00" * 32])
def test_a_file_of_another_hash_is_refused_with_the_hash_that_it_has(file, given):
    with pytest.raises(BenchError, match=f'set sha256 = "{sha256(file)}"'):
        Pretrained(file=file.name, sha256=given).squeeze(task(toy.ToyConvNet()))


def test_a_state_of_another_form_is_refused_and_the_first_fault_is_named(file):
    teacher = Pretrained(file=file.name, sha256=sha256(file))
    with pytest.raises(BenchError, match=r"does not fit the backbone: .* \[8, 3, 3, 3\]"):
        teacher.squeeze(task(toy.ToyConvNet(width=4)))


def test_what_is_no_safetensors_file_is_refused(data):
    path = data / "other.safetensors"
    path.write_bytes(b"weights")
    with pytest.raises(BenchError, match="is no safetensors file"):
        Pretrained(file=path.name, sha256=sha256(path)).squeeze(task(toy.ToyConvNet()))


@pytest.mark.parametrize("teacher", [Pretrained(), TorchvisionImageNet()], ids=lambda t: t.name)
def test_the_contract_fails_nowhere_and_skips_with_a_reason(teacher):
    verdicts = run_checks(checks_for("teacher", teacher))
    assert {v.status for v in verdicts} == {"passed", "skipped"}
    assert all(v.detail for v in verdicts if v.status == "skipped")


# ---- torchvision's

LARGE = (3, 96, 96)  # the strides of 224


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A file where torchvision says that it publishes weights, with its hash in the name."""
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    torch.manual_seed(5)
    network = mobilenet_v2(weights=None).eval()
    path = tmp_path / "state.pth"
    torch.save(network.state_dict(), path)
    path = path.rename(tmp_path / f"mobilenet_v2-{sha256(path)[:8]}.pth")
    monkeypatch.setattr(MobileNet_V2_Weights.IMAGENET1K_V1.value, "url", path.as_uri())
    return path, network


def imagenet(**facts):
    return task(MobileNetV2(), **{"classes": 1000, "shape": LARGE, **facts})


def test_what_is_downloaded_is_the_teacher(published, data):
    path, network = published
    teacher = TorchvisionImageNet(weights="mobilenet_v2")
    teacher.download()
    [kept] = (data / "torchvision").iterdir()
    assert kept.name == f"{path.stem}.safetensors"
    squeezed = teacher.squeeze(imagenet())
    images = torch.rand(1, *LARGE)
    with torch.no_grad():
        normalized = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        assert torch.equal(squeezed(images), network(normalized))


def test_what_is_here_is_not_downloaded_again(published, data):
    path, _ = published
    teacher = TorchvisionImageNet(weights="mobilenet_v2")
    teacher.download()
    path.unlink()
    teacher.download()
    assert len(list((data / "torchvision").iterdir())) == 1


def test_a_download_of_another_hash_is_refused_and_leaves_nothing(published, data):
    path, _ = published
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(RuntimeError, match="invalid hash"):
        TorchvisionImageNet(weights="mobilenet_v2").download()
    assert list((data / "torchvision").iterdir()) == []


def test_before_the_download_it_says_how_to_get_the_file():
    with pytest.raises(Missing, match="get it with `bench run --download`"):
        TorchvisionImageNet(weights="mobilenet_v2").squeeze(imagenet())


def test_other_classes_than_those_of_imagenet_are_declined():
    with pytest.raises(Unsupported, match=r"1,000 classes of ImageNet-1K apart; .* has 10"):
        TorchvisionImageNet().squeeze(imagenet(classes=10))


@pytest.mark.parametrize("facts", [{"mean": (0.5, 0.5, 0.5)}, {"std": (0.2, 0.2, 0.2)}])
def test_another_normalisation_than_that_of_imagenet_is_declined(facts):
    with pytest.raises(Unsupported, match="normalised by ImageNet's mean"):
        TorchvisionImageNet().squeeze(imagenet(**facts))


def test_weights_that_fit_none_of_our_networks_are_refused():
    with pytest.raises(BenchError, match="weights is 'alexnet'; expected one of resnet18"):
        TorchvisionImageNet(weights="alexnet")


def test_torchvision_publishes_them_with_a_hash_in_the_name():
    assert (files.folder() / TorchvisionImageNet()._file).name == "resnet18-f37072fd.safetensors"
