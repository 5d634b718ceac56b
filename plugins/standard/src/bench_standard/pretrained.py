"""Teachers that were trained elsewhere: their weights come from a file, nothing is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bench import BenchError, Missing, Task, Unsupported
from bench_standard import files

if TYPE_CHECKING:
    from torch import nn

MODELS = ("resnet18", "resnet50", "resnet101", "mobilenet_v2")  # whose form is that of ours
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision rounds them


@dataclass(frozen=True)
class Pretrained:
    """A teacher from a safetensors file, checked by its SHA-256; it must fit the board's backbone.

    The file holds a state as torch names it, without the normalisation, which is the data set's.
    """

    name: str = "pretrained"
    file: str = ""  # absolute, or below the data folder
    sha256: str = ""  # of the file: 64 hex digits
    track: ClassVar[str] = "classification"

    def squeeze(self, task: Task) -> nn.Module:
        if not self.file:
            raise Missing(
                f"{self.name} has no file; expected a field `file` that names a safetensors file; "
                f'derive a teacher: [define.mine] teacher = "{self.name}", file, sha256'
            )
        path = files.find(
            f"the file of {self.name}", [self.file], "put it there, or set another `file`"
        )
        if not path.is_file():
            raise BenchError(f"{path} is a folder; expected a safetensors file; set another `file`")
        found = files.sha256(path)
        if found != self.sha256.lower():
            raise BenchError(
                f"{path} has the SHA-256 {found}; expected {self.sha256 or 'it in the field'}; "
                f'if this is the file that you mean, set sha256 = "{found}"'
            )
        return _filled(task, path)


@dataclass(frozen=True)
class TorchvisionImageNet:
    """torchvision's first ImageNet-1K weights, for a backbone of torchvision's form.

    Its 1,000 outputs are in the order of the sorted WordNet ids, as folders are read; the data
    set must be normalised by ImageNet's mean and deviation. Raises Unsupported for another.
    """

    name: str = "torchvision-imagenet"
    weights: str = "resnet18"  # of which network: that of the board's backbone
    track: ClassVar[str] = "classification"
    preload: ClassVar[tuple[str, ...]] = ("torchvision.models",)

    def __post_init__(self) -> None:
        if self.weights not in MODELS:
            raise BenchError(
                f"{self.name}: weights is {self.weights!r}; expected one of {', '.join(MODELS)}"
            )

    def squeeze(self, task: Task) -> nn.Module:
        if len(task.classes) != 1000:
            raise Unsupported(
                f"{self.name} tells the 1,000 classes of ImageNet-1K apart; this data set has "
                f"{len(task.classes):,}"
            )
        given, wanted = (*task.mean, *task.std), (*MEAN, *STD)
        if len(given) != len(wanted) or any(
            abs(a - b) > 1e-3 for a, b in zip(given, wanted, strict=True)
        ):
            raise Unsupported(
                f"{self.name} takes images normalised by ImageNet's mean {MEAN} and deviation "
                f"{STD}; this data set has {task.mean} and {task.std}"
            )
        path = files.find(
            f"the file of {self.name} for {self.weights}",
            [self._file],
            "get it with `bench run --download`",
        )
        return _filled(task, path)

    def download(self) -> None:
        """Fetch torchvision's file, check the hash that its name holds, keep it as safetensors."""
        import tempfile

        from safetensors.torch import save_file

        target = files.folder() / self._file
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            state = self._source.get_state_dict(
                model_dir=temporary,
                progress=False,
                check_hash=True,
                weights_only=True,
                map_location="cpu",
            )
            finished = Path(temporary) / target.name
            save_file({key: value.contiguous() for key, value in state.items()}, finished)
            finished.replace(target)

    @property
    def _source(self) -> Any:  # a member of a `WeightsEnum`, whose methods are untyped
        from torchvision.models import get_model_weights

        return get_model_weights(self.weights)["IMAGENET1K_V1"]

    @property
    def _file(self) -> str:
        """torchvision's name for it, whose end is part of its hash."""
        return f"torchvision/{Path(self._source.url).stem}.safetensors"


def _filled(task: Task, path: Path) -> nn.Module:
    """The task's backbone with the state in a safetensors file, in eval mode."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from bench.training import networks

    try:
        state = load_file(path)
    except SafetensorError as error:
        raise BenchError(f"{path} is no safetensors file ({error}); expected one") from None
    network = task.network()
    # torchvision's older files lack these counters, which change nothing in eval mode
    for name, tensor in networks.state(network).items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, tensor)
    try:
        networks.load(network, state)
    except BenchError as error:
        raise BenchError(f"{path} does not fit the backbone: {error}") from None
    return network.to(task.device).eval()
