"""Weight files published by the authors of ViSiL, DnS, S2VS and SSCD -> bundles.

    FILE.pth ─► weight_files: tensors ─► [recognise ─► rename ─► whitening, backbone, check picture] ─► Bundle
                                                        this module

SSCD describes pictures: it has no similarity network, and is compared by Chamfer over its one vector a frame.

A format is recognised by the names and shapes of its tensors; DnS and S2VS, whose tensors are the same, by the options
stored beside them. What is not exactly a known format is refused: a network that loads in part gives scores that look
right and are wrong. The files may come from a stranger, so every refusal is one line.

The tensor names are the authors', `comperator` included. Sources: the PyTorch branch of MKLab-ITI/visil,
mever-team/distill-and-select, gkordo/s2vs, facebookresearch/sscd-copy-detection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from visil.errors import ModelError
from visil.media.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PRESETS
from visil.model.backbone import BackboneSettings, build_network
from visil.model.bundle import Bundle, BundleSettings, RegionSettings, check_picture
from visil.model.model import Model
from visil.model.network import NetworkSettings
from visil.model.weight_files import (
    OUT_OF_SCOPE,
    SSCD_FILES,
    Checkpoint,
    checked_tensors,
    first_line,
    load_checkpoint,
    shown_name,
    tensors_below,
)
from visil.model.whitening import Whitening

BACKBONE = BackboneSettings("resnet50", stages=(1, 2, 3, 4))  # torchvision's: the stride sits in the 3x3, as in timm
PRETRAINED = "resnet50.tv_in1k"  # timm's name for torchvision's v1 weights, which all three papers use
BACKBONE_DIM = 256 + 512 + 1024 + 2048
FULL_DIM, REDUCED_DIM = 3840, 512  # of the published whitenings
I3D_DIM = 400
BATCH_COUNTER = "num_batches_tracked"  # end of the names of tensors that nothing reads
LAST_STAGE = BackboneSettings("resnet50", stages=(4,))  # all that SSCD looks at
LAST_STAGE_DIM = 2048
SSCD_SIDE_PX = 288  # its authors' advice for squares: 288 to 320; trained at 224

COMPARATOR_SHAPES = {
    "conv1.weight": (32, 1, 3, 3),
    "conv1.bias": (32,),
    "conv2.weight": (64, 32, 3, 3),
    "conv2.bias": (64,),
    "conv3.weight": (128, 64, 3, 3),
    "conv3.bias": (128,),
    "fconv.weight": (1, 128, 1, 1),
    "fconv.bias": (1,),
}
NORMALISER = {"scale": (255.0,), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}  # constants of the whole module
NOT_FINE_GRAINED = {
    "mlp.": "the selector of DnS",
    "transformer.": "the coarse student of DnS",
    "netvlad.": "the coarse student of DnS",
}

WHITENING_FILE = "pca_resnet50_vcdb_1M.pth"


@dataclass(frozen=True)
class _Source:
    """What tensors do not tell about the networks of a repository."""

    preset: str
    scheme: str
    licence: str
    training_data: str


VISIL = _Source(
    preset="paper-visil",
    scheme="visil",
    licence="Apache-2.0 (repository MKLab-ITI/visil)",
    training_data="network: triplets of VCDB videos; whitening: region vectors of VCDB; backbone: ImageNet-1k",
)
DNS = _Source(
    preset="paper-visil",  # its published features were extracted by that loader
    scheme="limac",
    licence="Apache-2.0 (repository mever-team/distill-and-select)",
    training_data="network: pairs of DnS-100K videos, labelled by a teacher; whitening: region vectors of VCDB; "
    "backbone: ImageNet-1k",
)
SSCD = _Source(
    preset="whole-frame",
    scheme="whole",
    licence="MIT (repository facebookresearch/sscd-copy-detection)",
    training_data="pictures of DISC 2021 (sscd_disc_*) or ImageNet-1k (sscd_imagenet_*), without labels",
)
S2VS = _Source(
    preset="paper-s2vs",
    scheme="limac",
    licence="MIT (repository gkordo/s2vs)",
    training_data="network: videos of DnS-100K (s2vs_dns.pth) or VCDB (s2vs_vcdb.pth), without labels; "
    "whitening: region vectors of VCDB; backbone: ImageNet-1k",
)


@dataclass(frozen=True)
class _Network:
    """A recognised network; tensors are float32 under the names of a bundle."""

    name: str
    source: _Source
    settings: NetworkSettings
    dim: int
    tensors: dict[str, Tensor]


def convert_published(file: Path, *, whitening_file: Path | None, backbone_file: Path | None) -> Bundle:
    """The bundle of a published network.

    Args:
        file: `visil.pth`, `visil_symmetric.pth`, a state dict of the whole PyTorch module of ViSiL,
            `dns_fg_att_student.pth`, `dns_fg_bin_student.pth`, `s2vs_dns.pth`, `s2vs_vcdb.pth`, a checkpoint
            of the same form, or `sscd_*.torchvision.pt`.
        whitening_file: the authors' `pca_resnet50_vcdb_1M.pth`; None for a whole module and for SSCD, which hold
            their own.
        backbone_file: ResNet-50 weights named as in torchvision, `.safetensors` or a state dict of torch; None:
            those of the file itself, else timm's download of torchvision's v1 weights.

    Raises:
        ModelError: a file that is not one of these, is damaged or unsafe; or weights that are missing.
    """
    checkpoint = load_checkpoint(file)
    if "backbone.fc.weight" in checkpoint.tensors:
        bundle = _sscd(file, checkpoint.tensors, whitening_file or backbone_file)
    else:
        bundle = _similarity_network(file, checkpoint, whitening_file, backbone_file)
    check = Model(bundle, device="cpu").region_vectors(check_picture(bundle.settings.preprocessing)).clone()
    if not check.isfinite().all():
        raise ModelError(f"{file}: with this backbone and whitening a picture has no finite region vectors")
    return replace(bundle, tensors={**bundle.tensors, "check.region_vectors": check})


def _similarity_network(
    file: Path, checkpoint: Checkpoint, whitening_file: Path | None, backbone_file: Path | None
) -> Bundle:
    """ViSiL, DnS or S2VS, without the vectors of the check picture."""
    tensors = checkpoint.tensors
    own_backbone = tensors_below(tensors, "cnn.cnn.")
    if own_backbone:
        _check_whole_module(file, tensors, whitening_file or backbone_file)
        network = _recognise(file, tensors_below(tensors, "visil_head."), checkpoint.options)
        whitening = _whitening(file, tensors_below(tensors, "cnn.pca."), network.dim)
        backbone = _backbone(file, own_backbone)
    else:
        network = _recognise(file, tensors, checkpoint.options)
        if whitening_file is None:
            raise ModelError(
                f"{file}: a network without its whitening; pass the authors' {WHITENING_FILE} beside it (--whitening)"
            )
        whitening = _whitening(whitening_file, load_checkpoint(whitening_file).tensors, network.dim)
        backbone = _read_backbone(backbone_file)
    settings = BundleSettings(
        name=network.name,
        preprocessing=PRESETS[network.source.preset],
        backbone=BACKBONE,
        regions=RegionSettings(network.source.scheme),
        network=network.settings,
        licence=network.source.licence,
        training_data=network.source.training_data,
    )
    return Bundle(
        settings,
        {
            **{f"backbone.{name}": tensor for name, tensor in backbone.items()},
            "whitening.mean": whitening.mean,
            "whitening.projection": whitening.projection,
            **network.tensors,
        },
    )


def _sscd(file: Path, tensors: Mapping[str, Tensor], given: Path | None) -> Bundle:
    """SSCD in torchvision's form, without the vectors of the check picture.

    Its last layer is the whitening: the bias stays a bias, since no mean that gives it need exist.
    """
    if given is not None:
        raise ModelError(f"{file}: holds its own backbone and projection; leave out {given}")
    expected = {**_backbone_shapes(), "fc.weight": (REDUCED_DIM, LAST_STAGE_DIM), "fc.bias": (REDUCED_DIM,)}
    found = tensors_below(
        checked_tensors(
            file,
            {name: tensor for name, tensor in tensors.items() if not name.endswith(BATCH_COUNTER)},
            {f"backbone.{name}": shape for name, shape in expected.items()},
        ),
        "backbone.",
    )
    projection, bias = found.pop("fc.weight").T.contiguous(), found.pop("fc.bias")
    settings = BundleSettings(
        name="sscd",
        preprocessing=replace(PRESETS[SSCD.preset], size_px=SSCD_SIDE_PX),
        backbone=LAST_STAGE,
        regions=RegionSettings(SSCD.scheme),
        network=NetworkSettings(),
        licence=SSCD.licence,
        training_data=SSCD.training_data,
    )
    return Bundle(
        settings,
        {
            **{f"backbone.{name}": tensor for name, tensor in found.items()},
            "whitening.mean": torch.zeros(LAST_STAGE_DIM),
            "whitening.projection": projection,
            "whitening.bias": bias,
        },
    )


# --- recognising ---------------------------------------------------------------------------------------------------


def _recognise(file: Path, tensors: Mapping[str, Tensor], options: frozenset[str]) -> _Network:
    """Which network these tensors are; all of them, and no others, must be there."""
    for start, what in NOT_FINE_GRAINED.items():
        if tensors_below(tensors, start):
            raise ModelError(f"{file}: not a fine-grained network: {what} is not converted yet by this version")
    if tensors_below(tensors, "video_comperator."):
        return _visil(file, tensors)
    if not tensors_below(tensors, "visil_head."):
        raise ModelError(f"{file}: {_what_else(tensors)}")
    name, source = ("s2vs", S2VS) if "similarity_network" in options else ("dns", DNS)
    shapes: dict[str, tuple[int, ...]]
    context: dict[str, tuple[int, ...]] = {"attention.context_vector.weight": (1, REDUCED_DIM)}
    if "binarization.W" in tensors:
        bits = _code_length(file, tensors["binarization.W"])
        settings = NetworkSettings(bits=bits, comparator_padding="zeros")
        name, shapes = f"{name}-binarization", {"binarization.W": (REDUCED_DIM, bits)}
    elif "attention.transform.weight" in tensors:
        settings = NetworkSettings(attention="sigmoid", comparator_padding="zeros")
        transform = {
            "attention.transform.weight": (REDUCED_DIM, REDUCED_DIM),
            "attention.transform.bias": (REDUCED_DIM,),
        }
        name, shapes = f"{name}-attention", {**transform, **context}
    else:
        settings = NetworkSettings(attention="linear_normalised", comparator_padding="zeros")
        name, source, shapes = "s2vs-attention-norm", S2VS, context  # only S2VS has this kind
    found = checked_tensors(file, tensors, {**shapes, **_comparator_shapes("visil_head.")})
    return _Network(name, source, settings, REDUCED_DIM, _bundle_names(found, "visil_head."))


def _visil(file: Path, tensors: Mapping[str, Tensor]) -> _Network:
    """The head of the PyTorch release; the symmetric network is the one of 512 dimensions."""
    context = tensors.get("attention.context_vector.weight")
    given = context.shape[-1] if context is not None and context.ndim == 2 else FULL_DIM
    if given == I3D_DIM:
        raise ModelError(f"{file}: a network for I3D features. {OUT_OF_SCOPE}")
    dim = REDUCED_DIM if given == REDUCED_DIM else FULL_DIM
    symmetric = dim == REDUCED_DIM
    found = checked_tensors(
        file,
        tensors,
        {"attention.context_vector.weight": (1, dim), **_comparator_shapes("video_comperator.")},
    )
    return _Network(
        "visil-symmetric" if symmetric else "visil",
        VISIL,
        NetworkSettings(attention="linear", comparator_padding="replicate", symmetric=symmetric),
        dim,
        _bundle_names(found, "video_comperator."),
    )


def _code_length(file: Path, projection: Tensor) -> int:
    bits = projection.shape[-1] if projection.ndim == 2 else 0
    if not 8 <= bits <= REDUCED_DIM or bits % 8:
        raise ModelError(
            f"{file}: tensor 'binarization.W' has shape {[*projection.shape]}, expected [{REDUCED_DIM}, bits] "
            f"with a multiple of 8 bits up to {REDUCED_DIM}"
        )
    return bits


def _what_else(tensors: Mapping[str, Tensor]) -> str:
    """What a file without a comparator is."""
    if "mean" in tensors and ("V" in tensors or "DVt" in tensors):
        return "a whitening, not a network; pass it beside one (--whitening)"
    if "layer1.0.conv1.weight" in tensors:
        return "a ResNet, not a similarity network; pass it beside one (--backbone)"
    if "proj" in tensors:
        return "the rotation that training of binarization starts from, not a network"
    if any("i3d" in name.lower() or "conv3d" in name.lower() for name in tensors):
        return f"an I3D network. {OUT_OF_SCOPE}"
    if "embeddings.1.weight" in tensors:
        return f"a network of SSCD in Classy Vision's form, which is not converted; {SSCD_FILES}"
    first = f"its first tensor is {shown_name(next(iter(tensors)))}" if tensors else "it holds no tensors"
    return f"not a network of ViSiL, DnS, S2VS or SSCD ({first})"


def _check_whole_module(file: Path, tensors: Mapping[str, Tensor], given: Path | None) -> None:
    if given is not None:
        raise ModelError(f"{file}: holds its own backbone and whitening; leave out {given}")
    parts = ("cnn.cnn.", "cnn.pca.", "cnn.normalizer.", "visil_head.")
    for name in tensors:
        if not name.startswith(parts):
            raise ModelError(f"{file}: unexpected tensor {shown_name(name)} in a whole ViSiL module")
    normaliser = checked_tensors(
        file,
        tensors_below(tensors, "cnn.normalizer."),
        {name: (len(values),) for name, values in NORMALISER.items()},
    )
    for name, values in NORMALISER.items():
        if not torch.allclose(normaliser[name], torch.tensor(values), rtol=1e-5):
            raise ModelError(
                f"{file}: 'cnn.normalizer.{name}' is {normaliser[name].tolist()}, published networks have {[*values]}"
            )


def _comparator_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}{name}": shape for name, shape in COMPARATOR_SHAPES.items()}


def _bundle_names(tensors: Mapping[str, Tensor], comparator: str) -> dict[str, Tensor]:
    """Published names -> those of `SimilarityNetwork`."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.startswith(comparator):
            name = f"comparator.{name.removeprefix(comparator)}"
        renamed["binarization.projection" if name == "binarization.W" else name] = tensor
    return renamed


# --- whitening and backbone ----------------------------------------------------------------------------------------


def _whitening(file: Path, tensors: Mapping[str, Tensor], dim: int) -> Whitening:
    """To `dim` dimensions: from eigenvectors `V` and eigenvalues `d`, or as a whole module stores it (`DVt`)."""
    if "mean" not in tensors or not ({"d", "V"} <= tensors.keys() or "DVt" in tensors):
        names = ", ".join(shown_name(name) for name in list(tensors)[:3]) or "none"
        raise ModelError(f"{file}: not a whitening: expected the tensors mean, d and V, got {names}")
    mean_shape = (1, BACKBONE_DIM) if tensors["mean"].ndim == 2 else (BACKBONE_DIM,)
    if "DVt" in tensors:
        found = checked_tensors(file, tensors, {"mean": mean_shape, "DVt": (BACKBONE_DIM, dim)})
        return Whitening(found["mean"].flatten(), found["DVt"])
    shapes = {"mean": mean_shape, "d": (BACKBONE_DIM,), "V": (BACKBONE_DIM, BACKBONE_DIM)}
    found = checked_tensors(file, tensors, shapes)
    whitening = Whitening.from_eigen(found["mean"], found["d"], found["V"], dim)
    if not whitening.projection.isfinite().all():
        raise ModelError(f"{file}: not a whitening: of its {dim} largest eigenvalues some are negative")
    return whitening


def _read_backbone(file: Path | None) -> dict[str, Tensor]:
    if file is None:
        settings = replace(BACKBONE, name=PRETRAINED)
        return _backbone(Path(PRETRAINED), build_network(settings, pretrained=True).state_dict())
    if file.suffix != ".safetensors":
        return _backbone(file, load_checkpoint(file).tensors)
    try:
        if not file.is_file():
            raise ModelError(f"{file}: no such file")
        return _backbone(file, load_file(file))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: not a readable safetensors file ({first_line(error)})") from error


def _backbone(file: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the four stages; the classifier and batch counters stay behind."""
    shapes = _backbone_shapes()
    return checked_tensors(file, {name: tensors[name] for name in shapes if name in tensors}, shapes)


def _backbone_shapes() -> dict[str, tuple[int, ...]]:
    """Of the tensors of all four stages of a ResNet-50, batch counters left out."""
    network = build_network(BACKBONE).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in network.items() if not name.endswith(BATCH_COUNTER)}
