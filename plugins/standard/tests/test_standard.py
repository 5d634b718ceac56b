import subprocess
import sys
from importlib.metadata import entry_points

import bench_standard
from bench_standard.corruptions import KINDS

HEAVY = ("torch", "torchvision", "timm", "sklearn", "torchattacks", "pyautoattack", "scipy", "cv2")
PRESETS = [
    *("guard-pgd", "guard-mim", "guard-square", "guard-autoattack", "guard-cw"),
    *("ddrb-fgsm-2", "ddrb-fgsm-4", "ddrb-fgsm-8"),
    *(
        f"ddrb-{attack}-{eps}-{steps}"
        for attack in ("pgd", "cw", "vmifgsm", "jitter")
        for eps, steps in ((2, 5), (2, 10), (4, 5), (4, 10), (8, 10))
    ),
    *("ddrb-autoattack-1", "ddrb-autoattack-2", "ddrb-autoattack-3", "ddrb-autoattack-4"),
    *("beard-fgsm", "beard-pgd", "beard-pgd-l2", "beard-deepfool", "beard-cw"),
    *("beard-autoattack", "robustbench-linf", "robustbench-l2"),
]
HOOKS = {
    "bench_datasets": [
        "digits",
        "mnist",
        "fashion-mnist",
        "cifar-10",
        "cifar-100",
        "cifar-10-jpeg",
        "svhn",
        "imagenette",
        "imagenette-64",
        "imagewoof",
        "tiny-imagenet",
        "imagenet-1k",
        "folder",
    ],
    "bench_teachers": [
        "standard",
        "standard-cifar",
        "standard-fashion",
        "standard-imagenet",
        "patient",
        "pretrained",
        "torchvision-imagenet",
        "diffusion",
        "pretrained-diffusion",
    ],
    "bench_methods": [
        *("random", "kcenter", "herding", "medoid", "nearest-mean"),
        *("easiest", "hardest", "el2n", "el2n-easy", "forgetting", "forgetting-easy", "ccs"),
        *("prebuilt", "full", "real"),
    ],
    "bench_architectures": [
        "convnet",
        "convnet-bn",
        "convnet-d4",
        "convnet-d5",
        "convnet-d6",
        "resnet18",
        "resnet50",
        "resnet101",
        "vgg11",
        "mobilenetv2",
        "vit-tiny",
        "vit-small",
        "vit-nano",
        *("dit-nano", "dit-xs", "dit-s", "dit-b", "dit-l", "dit-xl"),
        *("unet-xs", "unet-s", "unet-cifar", "latent-dit-l", "latent-dit-xl"),
    ],
    "bench_attacks": [
        *("clean", "uniform-noise", "fgsm", "pgd", "pgd-l2", "mim"),
        *("fgsm-margin", "pgd-margin", "pgd-l2-margin", "mim-margin"),
        *("vmifgsm", "jitter", "cw", "deepfool"),
        *("apgd-ce", "apgd-t", "fab-t", "square"),
        *("autoattack", "autoattack-rand", "autoattack-audited"),
        *PRESETS,
        *KINDS,
    ],
    "bench_samplers": ["ddim", "ddpm", "euler"],
    "bench_metrics": [
        *("accuracy", "worst-class", "second-opinion", "first-opinion"),
        *("from-real", "share-from-real"),
        *("fd", "kd", "kd-sd", "score"),
        *("precision", "recall", "density", "coverage", "sample-accuracy"),
        *("memorisation", "memorisation-pixels", "kd-uncopied", "kd-set", "denoising-loss"),
        *("fd-efflite0", "kd-efflite0", "kd-efflite0-sd", "score-efflite0"),
        *(f"{kind}-efflite0" for kind in ("precision", "recall", "density", "coverage")),
        *("fid", "kid", "kid-sd", "is"),
        *(f"{kind}-inception" for kind in ("precision", "recall", "density", "coverage")),
    ],
}


def test_the_entry_point_leads_to_the_module():
    [entry] = [e for e in entry_points(group="bench") if e.name == "standard"]
    assert entry.load() is bench_standard


def test_the_hooks_return_these_components():
    names = {hook: [c.name for c in getattr(bench_standard, hook)()] for hook in HOOKS}
    assert names == HOOKS


def test_discovery_imports_nothing_heavy():
    code = (
        "import sys, bench_standard as s\n"
        "for hook in [h for h in dir(s) if h.startswith('bench_')]:\n"
        "    if callable(getattr(s, hook)): getattr(s, hook)()\n"
        "print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
