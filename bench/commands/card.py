"""What is written of a set that leaves the board: tensors, pictures, and a card for both readers.

`card.json` is for programs, `README.md` says the same in words.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.files import resolved, write_bytes, write_text

if TYPE_CHECKING:
    from bench.board.matrix import Matrix
    from bench.commands.export import Wanted
    from bench.records.result import Result

FILE, EXTRAS, PICTURES = "images.safetensors", "extras.safetensors", "png"
DRAWN = (1, 3)  # channels that a PNG can have


@dataclass(frozen=True)
class Exported:
    """A set and what is known of it. `facts` of the data are empty where it is not at hand."""

    wanted: Wanted
    matrix: Matrix
    tensors: Mapping[str, Any]  # arrays: images, labels [N, K], classes [N], weights, extras.*
    content: str  # what records name it by
    facts: Mapping[str, Any]
    records: Sequence[Result]  # of students that were trained on this very set
    teacher: str  # who labels, or whom the method asks; "" for nobody

    @cached_property
    def blob(self) -> bytes:
        """The file: images, labels, classes, and weights if there are any."""
        from safetensors.numpy import save

        own = ("images", "labels", "classes", "weights")
        return save({name: self.tensors[name] for name in own if name in self.tensors})

    @property
    def extras(self) -> dict[str, Any]:
        """What the method has attached to images and classes."""
        extras = {n: t for n, t in self.tensors.items() if n.startswith("extras.")}
        return {name.removeprefix("extras."): tensor for name, tensor in extras.items()}

    @property
    def names(self) -> list[str]:
        """The classes in order; their numbers where the data is not at hand."""
        total = self.tensors["labels"].shape[1]
        return list(self.facts.get("classes", map(str, range(total))))

    @property
    def drawn(self) -> bool:
        return self.tensors["images"].shape[1] in DRAWN


def write(folder: Path, one: Exported) -> None:
    """Write the files of a set."""
    from safetensors.numpy import save

    write_bytes(folder / FILE, one.blob)
    if one.extras:
        write_bytes(folder / EXTRAS, save(one.extras))
    if one.drawn:
        for name, picture in pictures(one).items():
            write_bytes(folder / PICTURES / name, picture)
    told = card(one)
    write_text(folder / "card.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", page(one, told))


def pictures(one: Exported) -> dict[str, bytes]:
    """PNGs by name, `<class>/<number>.png`: 8 bits, so that those of floats are rounded."""
    import numpy as np
    from PIL import Image

    folders = spelt(one.names)
    images = one.tensors["images"]
    if images.dtype != np.uint8:
        images = np.rint(images * 255).astype(np.uint8)
    digits = len(str(len(images) - 1))
    found = {}
    for number, (image, label) in enumerate(zip(images, one.tensors["classes"], strict=True)):
        array = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, format="PNG")
        found[f"{folders[label]}/{number:0{digits}}.png"] = buffer.getvalue()
    return found


def spelt(names: Sequence[str]) -> list[str]:
    """Names of folders for classes: their own without slashes, or numbers if those clash."""
    found = [name.replace("/", "_") for name in names]
    lower = {name.lower() for name in found}
    plain = len(lower) == len(found) and all(n.isprintable() and n[:1] not in ". " for n in found)
    return found if plain and "" not in lower else [str(k) for k in range(len(names))]


def card(one: Exported) -> dict[str, Any]:
    """What is known of a set, as JSON."""
    wanted, images, labels = one.wanted, one.tensors["images"], one.tensors["labels"]
    record = one.records[0] if one.records else None
    hard = bool((labels.max(1) == 1).all())
    return {
        "format": 1,
        "board": resolved(wanted.board).name,
        "title": one.matrix.title,
        "dataset": wanted.dataset,
        "data": one.facts.get("digest", ""),
        "method": wanted.method,
        "about": record.about.get("method", "") if record else "",
        "parameters": record.parameters.get("method", {}) if record else {},
        "ipc": wanted.ipc,
        "seed": wanted.seed,
        "images": {
            "shape": list(images.shape),
            "dtype": str(images.dtype),
            "pixels": "0 to 255" if str(images.dtype) == "uint8" else "0 to 1",
            "normalisation": "none: pixels as they are, channels first",
            "mean": list(one.facts.get("mean", ())),
            "std": list(one.facts.get("std", ())),
        },
        "labels": {
            "convention": "probabilities [N, K], float32; each row sums to 1",
            "hard": hard,
            "on the board": list(one.matrix.labels),
        },
        "classes": one.names,
        "class names known": bool(one.facts),
        "weights": "weights" in one.tensors,
        "extras": sorted(one.extras),
        "teacher": {
            "name": one.teacher,
            "content": record.content.get("teacher", "") if record else "",
        },
        "sha256": hashlib.sha256(one.blob).hexdigest(),
        "content": one.content,
        "versions": record.versions if record else {},
        "made by": wanted.command,
        "canary": canary(one),
    }


def canary(one: Exported) -> list[dict[str, Any]]:
    """What the board's students have on this very set: the first metric, the first column."""
    metric = one.matrix.metrics[0]
    first = (*one.matrix.attacks, *one.matrix.samplers)[0]
    return [
        {
            "metric": metric,
            "column": r.column,
            "architecture": r.architecture,
            "labels": r.labels,
            "seed": r.seed,
            "recipe": r.recipe,
            "value": r.metrics[metric],
        }
        for r in one.records
        if r.column == first and metric in r.metrics
    ]


TRAIN = """\
from safetensors.torch import load_file

tensors = load_file("images.safetensors")
images, labels = tensors["images"], tensors["labels"]  # {shape}, {rows}
if images.dtype.itemsize == 1:
    images = images.float() / 255
loss = -(labels * network(images).log_softmax(1)).sum(1).mean()  # a network of yours
"""


def page(one: Exported, told: Mapping[str, Any]) -> str:
    """The card in words."""
    wanted, form = one.wanted, told["images"]
    shape = " x ".join(map(str, form["shape"][1:]))
    hard = told["labels"]["hard"]
    kind = "one-hot" if hard else "soft"
    asked = [name for name in told["labels"]["on the board"] if name == "teacher"]
    teacher = (
        " The board's students were trained on labels of the teacher, of every augmented view; "
        "these are not in the file."
        if asked
        else ""
    )
    known = "" if told["class names known"] else " (numbers: the data was not at hand)"
    lines = [
        f"# {wanted.method}, {wanted.ipc} images per class, {wanted.dataset}",
        "",
        told["about"] or f"A condensed set of the board `{told['board']}`.",
        "",
        f"- Images: {form['shape'][0]} of {shape}, {form['dtype']}, {form['pixels']}, as they are",
        f"- Labels: {kind} probabilities [N, K].{teacher}",
        f"- Classes, in order{known}: {', '.join(told['classes'])}",
        f"- Teacher: {told['teacher']['name'] or 'none'}",
        f"- Seed {wanted.seed}; settings of the method: {json.dumps(told['parameters'])}",
        f"- `{FILE}`: SHA-256 `{told['sha256']}`",
    ]
    if told["weights"]:
        lines.append("- Weights [N]: how much each image counts in the loss.")
    if told["extras"]:
        lines.append(f"- `{EXTRAS}`: {', '.join(told['extras'])}")
    if one.drawn:
        rounded = "the same pixels" if form["dtype"] == "uint8" else "rounded to eight bits"
        lines.append(f"- `{PICTURES}/<class>/*.png`: {rounded}, without soft labels")
    lines += ["", "## Canary", "", *_canary(told["canary"])]
    text = TRAIN.replace("{shape}", str(form["shape"]))
    rows = f"[{form['shape'][0]}, {len(told['classes'])}]"
    lines += ["", "## Use", "", "```python", *text.replace("{rows}", rows).splitlines(), "```"]
    lines += ["", "## Made by", "", "```sh", told["made by"], "```", ""]
    return "\n".join(lines)


def _canary(found: Sequence[Mapping[str, Any]]) -> list[str]:
    if not found:
        return ["The board has no record of a student on this very set."]
    said = (
        "What the board's students have on this very set; yours should come near, by its recipe "
        "(`card.json`):"
    )
    return [
        said,
        "",
        *(
            f"- {one['architecture']}, {one['labels']} labels: {one['metric']} {one['value']:.4f} "
            f"({one['column']}, seed {one['seed']})"
            for one in found
        ),
    ]
