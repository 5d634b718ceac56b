"""The bricks that most boards stand on: one hook a kind, each returning its components."""

from collections.abc import Sequence
from typing import Any

from bench import hookimpl
from bench_standard.architectures.convnet import (
    CONVNET,
    CONVNET_BN,
    CONVNET_D4,
    CONVNET_D5,
    CONVNET_D6,
)
from bench_standard.architectures.dit import DIT_B, DIT_L, DIT_NANO, DIT_S, DIT_XL, DIT_XS
from bench_standard.architectures.latents import LATENT_DIT_L, LATENT_DIT_XL
from bench_standard.architectures.mobilenet import MobileNetV2
from bench_standard.architectures.resnet import RESNET18, RESNET50, RESNET101
from bench_standard.architectures.unet import UNET_CIFAR, UNET_S, UNET_XS
from bench_standard.architectures.vgg import VGG11
from bench_standard.architectures.vit import VIT_NANO, VIT_SMALL, VIT_TINY
from bench_standard.attacks import presets
from bench_standard.attacks.audited import Audited
from bench_standard.attacks.auto import APGD, FAB, AutoAttack, Square, TargetedAPGD
from bench_standard.attacks.clean import Clean
from bench_standard.attacks.gradient import FGSM, MARGIN, MIM, PGD, VMIFGSM, Jitter
from bench_standard.attacks.minimal import CW, DeepFool
from bench_standard.attacks.noise import Noise
from bench_standard.central import Central
from bench_standard.coresets import Easiest, Full, Hardest, Herding, KCenter, Random
from bench_standard.corruptions import KINDS as CORRUPTIONS
from bench_standard.corruptions import Corruption
from bench_standard.datasets.cifar import CIFAR10, CIFAR100
from bench_standard.datasets.cifar_jpeg import CIFAR10JPEG
from bench_standard.datasets.digits import Digits
from bench_standard.datasets.folder import Folder
from bench_standard.datasets.idx import MNIST, FashionMNIST
from bench_standard.datasets.imagenet import ImageNet1K
from bench_standard.datasets.imagenette import IMAGENETTE_64, ImageNette, ImageWoof
from bench_standard.datasets.svhn import SVHN
from bench_standard.datasets.tiny_imagenet import TinyImageNet
from bench_standard.diffusion import Diffusion, PretrainedDiffusion
from bench_standard.generative import METRICS
from bench_standard.medoid import Medoid
from bench_standard.metrics import Accuracy, WorstClass
from bench_standard.patient import Patient
from bench_standard.pictured import FIRST_OPINION, MOVED, FromReal, Opinion
from bench_standard.prebuilt import Prebuilt
from bench_standard.pretrained import Pretrained, TorchvisionImageNet
from bench_standard.real import Real
from bench_standard.samplers import DDIM, DDPM, Euler
from bench_standard.scored import CCS, EL2N, EL2N_EASY, FORGETTING_EASY, Forgetting
from bench_standard.teachers import (
    STANDARD_CIFAR,
    STANDARD_FASHION,
    STANDARD_IMAGENET,
    Standard,
)


@hookimpl
def bench_datasets() -> Sequence[Any]:
    return [
        Digits(),
        MNIST(),
        FashionMNIST(),
        CIFAR10(),
        CIFAR100(),
        CIFAR10JPEG(),
        SVHN(),
        ImageNette(),
        IMAGENETTE_64,
        ImageWoof(),
        TinyImageNet(),
        ImageNet1K(),
        Folder(),
    ]


@hookimpl
def bench_teachers() -> Sequence[Any]:
    return [
        Standard(),
        STANDARD_CIFAR,
        STANDARD_FASHION,
        STANDARD_IMAGENET,
        Patient(),
        Pretrained(),
        TorchvisionImageNet(),
        Diffusion(),
        PretrainedDiffusion(),
    ]


@hookimpl
def bench_methods() -> Sequence[Any]:
    return [
        Random(),
        KCenter(),
        Herding(),
        Medoid(),
        Central(),
        Easiest(),
        Hardest(),
        EL2N(),
        EL2N_EASY,
        Forgetting(),
        FORGETTING_EASY,
        CCS(),
        Prebuilt(),
        Full(),
        Real(),
    ]


@hookimpl
def bench_architectures() -> Sequence[Any]:
    return [
        CONVNET,
        CONVNET_BN,
        CONVNET_D4,
        CONVNET_D5,
        CONVNET_D6,
        RESNET18,
        RESNET50,
        RESNET101,
        VGG11(),
        MobileNetV2(),
        VIT_TINY,
        VIT_SMALL,
        VIT_NANO,
        DIT_NANO,
        DIT_XS,
        DIT_S,
        DIT_B,
        DIT_L,
        DIT_XL,
        UNET_XS,
        UNET_S,
        UNET_CIFAR,
        LATENT_DIT_L,
        LATENT_DIT_XL,
    ]


@hookimpl
def bench_attacks() -> Sequence[Any]:
    return [
        Clean(),
        Noise(),
        FGSM(),
        PGD(),
        PGD("pgd-l2", eps=0.5, norm="l2"),
        MIM(),
        FGSM("fgsm-margin", loss=MARGIN),
        PGD("pgd-margin", loss=MARGIN),
        PGD("pgd-l2-margin", eps=0.5, norm="l2", loss=MARGIN),
        MIM("mim-margin", loss=MARGIN),
        VMIFGSM(),
        Jitter(),
        CW(),
        DeepFool(),
        APGD(),
        TargetedAPGD(),
        FAB(),
        Square(),
        AutoAttack(),
        AutoAttack("autoattack-rand", version="rand"),
        Audited(),
        *presets.ATTACKS,
        *(Corruption(kind, kind) for kind in CORRUPTIONS),
    ]


@hookimpl
def bench_samplers() -> Sequence[Any]:
    return [DDIM(), DDPM(), Euler()]


@hookimpl
def bench_metrics() -> Sequence[Any]:
    looks = [Opinion(), FIRST_OPINION, FromReal(), MOVED]
    return [Accuracy(), WorstClass(), *looks, *METRICS]
