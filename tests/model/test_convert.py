"""Published weight files become bundles that score as the published formulas do, and strangers' files are refused.

The authors' files cannot be had here: these tests build files of exactly their form (names, shapes, the pickled
`argparse.Namespace`, optimizer and step) with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import pickle
import random
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from visil.cli.main import main
from visil.errors import ModelError
from visil.media.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PRESETS
from visil.model.backbone import BackboneSettings, build_network, import_timm
from visil.model.bundle import load_bundle
from visil.model.convert import COMPARATOR_SHAPES, DNS, _recognise, convert_published
from visil.model.model import Model
from visil.model.network import NetworkSettings
from visil.model.regions import region_vectors

Tensors = dict[str, Tensor]

VISIL_FORMS = ["visil", "visil-symmetric"]
TAKE_SSCD = r"of SSCD take sscd_disc_mixup\.torchvision\.pt or another .* \(disc_large has none\)"
PARITY_DATA = Path(__file__).parents[1] / "parity" / "data"
STUDENT_FORMS = ["dns-attention", "dns-binarization", "s2vs-attention", "s2vs-attention-norm", "s2vs-binarization"]


@pytest.fixture(autouse=True, scope="module")
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# --- files as published --------------------------------------------------------------------------------------------


def random_tensors(shapes: dict[str, tuple[int, ...]], *, seed: int) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) / (int(np.prod(shape[1:])) if shape[1:] else 100) ** 0.5
        for name, shape in shapes.items()
    }


def published_shapes(form: str, *, bits: int = 512) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `state_dicts.json`."""
    if form in VISIL_FORMS:
        dim = 3840 if form == "visil" else 512
        own: dict[str, tuple[int, ...]] = {"attention.context_vector.weight": (1, dim)}
        prefix = "video_comperator."
    else:
        prefix = "visil_head."
        own = {"attention.context_vector.weight": (1, 512)}
        if form.endswith("binarization"):
            own = {"binarization.W": (512, bits)}
        elif form.endswith("-attention"):
            own = {"attention.transform.weight": (512, 512), "attention.transform.bias": (512,), **own}
    return {**own, **{prefix + name: shape for name, shape in COMPARATOR_SHAPES.items()}}


def head_tensors(form: str, **options: int) -> Tensors:
    tensors = random_tensors(published_shapes(form, **options), seed=7)
    if "attention.context_vector.weight" in tensors and not form.endswith("-attention"):
        tensors["attention.context_vector.weight"] *= 3  # a length other than 1 tells the linear kinds apart
    return tensors


def training_options(form: str) -> argparse.Namespace:
    options = {"dims": 512, "attention": True, "binarization": False, "learning_rate": 1e-4, "experiment_path": "runs/"}
    if form.startswith("s2vs"):
        options |= {"similarity_network": "ViSiL", "augmentations": "GT,FT,TT,ViV", "lambda_viv": (0.3, 0.7), "gpu": 0}
    return argparse.Namespace(**options)


def checkpoint(form: str, tensors: Tensors | None = None) -> dict[str, Any]:
    """The four keys of the DnS and S2VS checkpoints."""
    model = head_tensors(form) if tensors is None else tensors
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4), "exp_avg_sq": torch.ones(4)}
    return {
        "model": OrderedDict(model),
        "args": training_options(form),
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}]},
        "global_step": 30_000,
    }


def published(form: str) -> Any:
    return OrderedDict(head_tensors(form)) if form in VISIL_FORMS else checkpoint(form)


@pytest.fixture(scope="module")
def pca() -> Tensors:
    generator = torch.Generator().manual_seed(1)
    return {
        "mean": torch.randn(3840, generator=generator) / 200,
        "d": torch.rand(3840, generator=generator),  # in no order
        "V": torch.randn(3840, 3840, generator=generator) / 62,
    }


@pytest.fixture(scope="module")
def resnet() -> Tensors:
    """As torchvision publishes it: with `fc` and batch counters."""
    torch.manual_seed(2)
    tensors: Tensors = import_timm().create_model("resnet50").state_dict()
    return tensors


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, pca: Tensors, resnet: Tensors) -> Path:
    """Folder with the whitening and the backbone, `pca.pth` and `resnet.pth`."""
    folder = tmp_path_factory.mktemp("published")
    torch.save(pca, folder / "pca.pth")
    torch.save(resnet, folder / "resnet.pth")
    return folder


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


# --- the published formulas, straight from the published tensors ----------------------------------------------------


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """uint8 [9, 224, 224, 3]: smooth random pictures."""
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(9, 3, 8, 8, generator=generator)
    large = F.interpolate(small, size=(224, 224), mode="bilinear")
    return (large * 255).byte().movedim(1, -1).numpy()


@pytest.fixture(scope="module")
def backbone_vectors(pictures: np.ndarray, resnet: Tensors) -> dict[str, Tensor]:
    """Region vectors [9, 9, 3840] by scheme."""
    network = build_network(BackboneSettings("resnet50", (1, 2, 3, 4)))
    network.load_state_dict({k: v for k, v in resnet.items() if not k.startswith("fc.")})
    network.eval()
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.inference_mode():
        maps = network((torch.from_numpy(pictures).movedim(-1, 1) / 255 - mean) / std)
        return {scheme: region_vectors(maps, scheme, strides=(4, 8, 16, 32)) for scheme in ("visil", "limac")}


def whitened(vectors: Tensor, pca: Tensors, dim: int) -> Tensor:
    largest = pca["d"].argsort(descending=True)[:dim]
    projection = pca["V"][:, largest] / (pca["d"][largest] + 1e-7).sqrt()
    return F.normalize((vectors - pca["mean"]) @ projection, dim=-1)


def published_score(form: str, tensors: Tensors, query: Tensor, target: Tensor) -> float:
    """Score of whitened vectors [T, R, D], written out from the specification."""

    def index(x: Tensor) -> Tensor:
        if form.endswith("binarization"):
            return (F.normalize(x, dim=-1) @ tensors["binarization.W"]).sign()
        u = tensors["attention.context_vector.weight"][0]
        if form.endswith("-attention"):
            hidden = torch.tanh(x @ tensors["attention.transform.weight"].T + tensors["attention.transform.bias"])
            return torch.sigmoid(hidden @ u)[..., None] * x
        if form == "s2vs-attention-norm":
            u = u / u.norm()
        return ((x @ u) / 2 + 0.5)[..., None] * x

    def chamfer(s: Tensor, dims: tuple[int, int]) -> Tensor:
        """Mean over the first of the maximum over the second; both directions for the symmetric network."""
        first, second = dims
        forward = s.amax(second, keepdim=True).mean(first, keepdim=True)
        if form == "visil-symmetric":
            forward = (forward + s.amax(first, keepdim=True).mean(second, keepdim=True)) / 2
        return forward

    prefix = "video_comperator." if form in VISIL_FORMS else "visil_head."
    mode = "replicate" if form in VISIL_FORMS else "constant"

    def conv(x: Tensor, name: str) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1), mode=mode) if name != "fconv" else x
        return F.conv2d(padded, tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"])

    q, t = index(query), index(target)
    products = torch.einsum("iod,jpd->ijop", q, t)
    matrix = chamfer(products, (2, 3))[..., 0, 0]  # [Tq, Tt]
    if form.endswith("binarization"):
        matrix = matrix / q.shape[-1]
    x = matrix[None, None]
    for name in ("conv1", "conv2"):
        x = F.max_pool2d(F.relu(conv(x, name)), 2)
    refined = F.hardtanh(conv(F.relu(conv(x, "conv3")), "fconv"))[0, 0]
    return float(chamfer(refined, (0, 1)))


def scored(model: Model, query: Tensor, target: Tensor) -> float:
    with torch.inference_mode():
        return float(model.network.score(model.network.index(query), model.network.index(target)))


class TestPublishedFiles:
    @pytest.mark.parametrize("form", [*VISIL_FORMS, *STUDENT_FORMS])
    def test_scores_are_those_of_the_published_formulas(
        self,
        form: str,
        files: Path,
        pca: Tensors,
        pictures: np.ndarray,
        backbone_vectors: dict[str, Tensor],
        tmp_path: Path,
    ) -> None:
        file = save(published(form), tmp_path / "weights.pth")
        bundle = convert_published(file, whitening_file=files / "pca.pth", backbone_file=files / "resnet.pth")
        bundle.save(tmp_path / "converted.safetensors")
        model = Model(load_bundle(tmp_path / "converted.safetensors"), device="cpu")

        dim = 3840 if form == "visil" else 512
        scheme = "visil" if form in VISIL_FORMS else "limac"
        expected = whitened(backbone_vectors[scheme][:2], pca, dim)  # [2, 9, D]
        torch.testing.assert_close(
            model.region_vectors(pictures[:2]), expected, rtol=0, atol=1e-5
        )  # float32 rounding of 50 layers
        query, target = (
            whitened(part, pca, dim) for part in (backbone_vectors[scheme][:4], backbone_vectors[scheme][4:])
        )
        score = published_score(form, head_tensors(form), query, target)
        assert abs(score) < 1  # not clipped: the test can see differences
        assert scored(model, query, target) == pytest.approx(score, abs=1e-5)

        assert model.check() == 0  # the check picture on this machine
        settings = bundle.settings
        assert settings.name == form
        assert settings.regions.scheme == scheme
        assert settings.preprocessing == PRESETS["paper-s2vs" if form.startswith("s2vs") else "paper-visil"]
        assert settings.part_samples == 30
        assert settings.licence.startswith("MIT" if form.startswith("s2vs") else "Apache-2.0")

    def test_a_whole_module_needs_no_other_file(
        self, pca: Tensors, resnet: Tensors, pictures: np.ndarray, backbone_vectors: dict[str, Tensor], tmp_path: Path
    ) -> None:
        projection = torch.randn(3840, 512, generator=torch.Generator().manual_seed(4)) / 62
        module = whole_module(resnet, pca["mean"][None], projection)
        bundle = convert_published(save(module, tmp_path / "whole.pth"), whitening_file=None, backbone_file=None)
        model = Model(bundle, device="cpu")
        vectors = model.region_vectors(pictures)
        expected = F.normalize((backbone_vectors["visil"] - pca["mean"]) @ projection, dim=-1)
        torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-5)
        score = published_score("visil-symmetric", head_tensors("visil-symmetric"), vectors[:4], vectors[4:])
        assert scored(model, vectors[:4], vectors[4:]) == pytest.approx(score, abs=1e-5)

    def test_a_released_student_without_options_is_of_dns(self) -> None:
        for form in ("dns-attention", "dns-binarization"):
            network = _recognise(Path("student.pth"), head_tensors(form), frozenset())
            assert (network.name, network.source) == (form, DNS)

    def test_settings_follow_the_table_of_variants(self) -> None:
        def settings(form: str) -> NetworkSettings:
            options = frozenset(vars(training_options(form)))
            return _recognise(Path("x.pth"), head_tensors(form), options).settings

        assert settings("visil") == NetworkSettings(attention="linear", comparator_padding="replicate")
        assert settings("visil-symmetric") == NetworkSettings(
            attention="linear", comparator_padding="replicate", symmetric=True
        )
        assert settings("dns-attention") == NetworkSettings(attention="sigmoid", comparator_padding="zeros")
        assert settings("dns-binarization") == NetworkSettings(bits=512, comparator_padding="zeros")
        assert settings("s2vs-attention") == settings("dns-attention")
        assert settings("s2vs-attention-norm").attention == "linear_normalised"
        assert settings("s2vs-binarization") == settings("dns-binarization")

    def test_the_file_format_before_torch_1_6_is_read_too(self, tmp_path: Path) -> None:
        torch.save(checkpoint("s2vs-attention"), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
        refused(tmp_path / "old.pth", "without its whitening")  # recognised


@pytest.fixture(scope="module")
def sscd() -> Tensors:
    """As `sscd_*.torchvision.pt`, in torchvision's form, with a bias that can be seen."""
    torch.manual_seed(5)
    network = import_timm().create_model("resnet50", num_classes=512)
    tensors = {f"backbone.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors["backbone.fc.weight"] = torch.randn(512, 2048) / 45
    tensors["backbone.fc.bias"] = torch.randn(512)
    return tensors


@pytest.fixture(scope="module")
def sscd_file(sscd: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(OrderedDict(sscd), tmp_path_factory.mktemp("sscd") / "sscd_disc_mixup.torchvision.pt")


class TestSSCD:
    def test_the_tensors_are_those_of_the_published_files(self, sscd: Tensors) -> None:
        (published,) = json.loads((PARITY_DATA / "sscd" / "state_dicts.json").read_text()).values()
        assert {name: [*tensor.shape] for name, tensor in sscd.items()} == published

    def test_vectors_are_those_of_the_published_formula(
        self, sscd: Tensors, sscd_file: Path, pictures: np.ndarray, tmp_path: Path
    ) -> None:
        bundle = convert_published(sscd_file, whitening_file=None, backbone_file=None)
        bundle.save(tmp_path / "sscd.safetensors")
        model = Model(load_bundle(tmp_path / "sscd.safetensors"), device="cpu")

        network = import_timm().create_model("resnet50", num_classes=512).eval()
        network.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in sscd.items()})
        mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        with torch.inference_mode():
            stage = network.forward_features((torch.from_numpy(pictures[:2]).movedim(-1, 1) / 255 - mean) / std)
            pooled = stage.clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
            expected = F.normalize(pooled @ sscd["backbone.fc.weight"].T + sscd["backbone.fc.bias"], dim=-1)
        torch.testing.assert_close(model.region_vectors(pictures[:2])[:, 0], expected, rtol=0, atol=1e-5)

        assert model.check() == 0
        settings = bundle.settings
        assert (settings.name, settings.regions.scheme, settings.format_version) == ("sscd", "whole", 4)
        assert settings.preprocessing == replace(PRESETS["whole-frame"], size_px=288)
        assert settings.network == NetworkSettings()
        assert settings.licence.startswith("MIT")

    def test_other_published_forms_name_the_file_to_take(self, tmp_path: Path) -> None:
        for name, dim in (("sscd_disc_mixup.classy.pt", 512), ("sscd_disc_large.classy.pt", 1024)):
            classy = {
                "backbone.initial_block.0.weight": torch.zeros(64, 3, 7, 7),
                "embeddings.1.weight": torch.zeros(dim, 2048),
                "embeddings.1.bias": torch.zeros(dim),
            }
            refused(save(classy, tmp_path / name), rf"{name}: .* Classy Vision's form.* {TAKE_SSCD}")

    def test_files_that_are_not_exactly_so_are_refused(self, sscd: Tensors, sscd_file: Path, tmp_path: Path) -> None:
        def saved(**changes: Tensor) -> Path:
            return save({**sscd, **changes}, tmp_path / "changed.pt")

        refused(sscd_file, "own backbone and projection; leave out pca.pth", whitening=Path("pca.pth"))
        refused(saved(**{"backbone.fc.bias": torch.zeros(1024)}), r"'backbone.fc.bias' has shape \[1024\]")
        refused(saved(**{"backbone.layer5.weight": torch.zeros(3)}), "unexpected tensor 'backbone.layer5.weight'")
        without = {name: tensor for name, tensor in sscd.items() if name != "backbone.layer4.2.conv3.weight"}
        refused(save(without, tmp_path / "short.pt"), "lacks the tensor 'backbone.layer4.2.conv3.weight'")


class TestBackboneOfADownload:
    def test_is_timms_copy_of_torchvisions_weights(
        self, files: Path, resnet: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cached = tmp_path / "model.safetensors"
        save_file(resnet, cached)
        asked: list[tuple[Any, ...]] = []

        def hub(*args: Any, **_: Any) -> str:
            asked.append(args)
            return str(cached)

        monkeypatch.setattr("huggingface_hub.hf_hub_download", hub)
        file = save(published("dns-attention"), tmp_path / "student.pth")
        pair = {"whitening_file": files / "pca.pth"}
        downloaded = convert_published(file, **pair, backbone_file=None)
        assert asked == [("timm/resnet50.tv_in1k", "model.safetensors")]
        copy = save(published("dns-attention"), tmp_path / "another-name.pth")
        assert downloaded.hash == convert_published(copy, **pair, backbone_file=cached).hash

    def test_without_a_network_is_one_clear_line(
        self, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def absent(*_: Any, **__: Any) -> str:
            raise FileNotFoundError("not in the cache")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
        monkeypatch.setattr("visil.model.backbone._resolves", lambda url: False)
        file = save(published("dns-attention"), tmp_path / "student.pth")
        expected = "weights of 'resnet50.tv_in1k' are not on this machine and .* cannot be reached"
        refused(file, expected, whitening=files / "pca.pth")
        refused_on_the_command_line(file, expected, monkeypatch, capsys, whitening=files / "pca.pth")


# --- refusals ------------------------------------------------------------------------------------------------------


def refused(file: Path, message: str, *, whitening: Path | None = None, backbone: Path | None = None) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        convert_published(file, whitening_file=whitening, backbone_file=backbone)
    assert "\n" not in str(caught.value)


def refused_on_the_command_line(
    file: Path,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    whitening: Path | None = None,
    backbone: Path | None = None,
) -> None:
    output = file.with_name("never-written.safetensors")
    arguments = ["models", "convert", str(file), "-o", str(output)]
    arguments += ["--whitening", str(whitening)] if whitening else []
    arguments += ["--backbone", str(backbone)] if backbone else []
    monkeypatch.setattr(sys, "argv", ["visil", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("visil: ")
    assert re.search(message, line)
    assert not output.exists()


def whole_module(resnet: Tensors, mean: Tensor, projection: Tensor, **changes: Tensor) -> Tensors:
    head = head_tensors("visil-symmetric" if projection.shape[1] == 512 else "visil")
    normaliser = {
        "scale": torch.tensor([255.0]),
        "mean": torch.tensor(IMAGENET_MEAN),
        "std": torch.tensor(IMAGENET_STD),
    }
    return {
        **{f"cnn.normalizer.{name}": value for name, value in normaliser.items()},
        **{f"cnn.cnn.{name}": value for name, value in resnet.items()},
        "cnn.pca.mean": mean,
        "cnn.pca.DVt": projection,
        **{f"visil_head.{name}": value for name, value in head.items()},
        **changes,
    }


class Evil:
    """Runs a shell command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class EvilEval(Evil):
    def __reduce__(self) -> Any:
        return eval, (f"open({str(self.marker)!r}, 'w')",)


def evil_zip(evil: Evil, path: Path) -> None:
    torch.save({**checkpoint("s2vs-attention"), "args": argparse.Namespace(similarity_network=evil)}, path)


def evil_old_format(evil: Evil, path: Path) -> None:
    torch.save({**checkpoint("dns-attention"), "global_step": evil}, path, _use_new_zipfile_serialization=False)


def evil_inside_model(evil: Evil, path: Path) -> None:
    torch.save({**head_tensors("visil"), "video_comperator.conv1.weight": evil}, path)


def evil_plain_pickle(evil: Evil, path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": evil}, protocol=2))


class TestHostilePickles:
    @pytest.mark.parametrize("write", [evil_zip, evil_old_format, evil_inside_model, evil_plain_pickle])
    @pytest.mark.parametrize(("kind", "function"), [(Evil, "posix.system"), (EvilEval, r"(\w+\.)?eval")])
    def test_are_refused_and_do_not_run(
        self,
        write: Callable[[Evil, Path], None],
        kind: type[Evil],
        function: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        marker, file = tmp_path / "it-ran", tmp_path / "visil.pth"
        write(kind(marker), file)
        message = f"visil.pth: refused: opening it would use '{function}'"
        refused(file, message)
        refused_on_the_command_line(file, message, monkeypatch, capsys)
        refused(save(published("dns-attention"), tmp_path / "good.pth"), message, whitening=file)
        assert not marker.exists()

    def test_would_run_if_unpickled(self, tmp_path: Path) -> None:
        evil_plain_pickle(Evil(tmp_path / "it-ran"), tmp_path / "visil.pth")
        pickle.loads((tmp_path / "visil.pth").read_bytes())
        assert (tmp_path / "it-ran").exists()  # so its absence above says something

    @pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
    def test_of_every_protocol_are_refused(self, protocol: int, tmp_path: Path) -> None:
        file = tmp_path / "visil.pth"
        file.write_bytes(pickle.dumps({"model": Evil(tmp_path / "it-ran")}, protocol=protocol))
        refused(file, r"visil\.pth: not a PyTorch weight file" if protocol < 2 else r"visil\.pth: refused: ")
        assert not (tmp_path / "it-ran").exists()

    def test_harmless_classes_are_refused_too(self, tmp_path: Path) -> None:
        content = {**checkpoint("s2vs-attention"), "args": pathlib.PurePosixPath("x")}
        refused(save(content, tmp_path / "s2vs.pth"), "refused: opening it would use 'pathlib.PurePosixPath'")

    def test_may_shadow_the_methods_of_what_they_describe(self, tmp_path: Path) -> None:
        shadowed = OrderedDict(head_tensors("dns-attention"))
        shadowed.get = shadowed.keys = 5  # type: ignore[method-assign,assignment]
        refused(save({"model": shadowed}, tmp_path / "dict.pth"), "without its whitening")  # read all the same
        tensors = head_tensors("dns-attention")
        tensors["visil_head.conv1.bias"].isfinite = 5  # type: ignore[method-assign,assignment]
        refused(save({"model": tensors}, tmp_path / "tensor.pth"), "'visil_head.conv1.bias' is not a plain tensor")

    def test_changed_anywhere_end_in_one_line(self, tmp_path: Path) -> None:
        """400 random changes of the pickle inside an archive: never another exception than ours."""
        good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
        save(checkpoint("s2vs-attention-norm"), good)
        with zipfile.ZipFile(good) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        generator = random.Random(0)
        for _ in range(400):
            changed = bytearray(entries["good/data.pkl"])
            for _ in range(generator.randint(1, 4)):
                changed[generator.randrange(len(changed))] = generator.randrange(256)
            with zipfile.ZipFile(bad, "w") as archive:
                for name, value in entries.items():
                    archive.writestr(name, bytes(changed) if name == "good/data.pkl" else value)
            refused(bad, "bad.pth: ")  # at the latest for want of a whitening


def state_with(form: str, **changes: Tensor | None) -> Tensors:
    """A published state dict with tensors replaced, added, or (None) left out; `__` stands for a dot."""
    tensors: dict[str, Tensor | None] = {**head_tensors(form), **{k.replace("__", "."): v for k, v in changes.items()}}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def nan_like(form: str, name: str) -> Tensors:
    tensors = head_tensors(form)
    tensors[name].view(-1)[-1] = torch.nan
    return tensors


SELECTOR = {
    **head_tensors("dns-attention"),
    **random_tensors(
        {"mlp.model.0.weight": (100, 3), "mlp.model.8.weight": (1, 100), "mlp.model.8.bias": (1,)}, seed=0
    ),
}
COARSE = {
    **{k: v for k, v in head_tensors("dns-attention").items() if k.startswith("attention")},
    "transformer.layers.0.self_attn.in_proj_weight": torch.zeros(1536, 512),
    "netvlad.centroids": torch.zeros(64, 512),
}
HUGE = torch.zeros(1).expand(10**6, 10**6)  # 4 bytes in the file, 4 TB if it were copied

REFUSED: dict[str, tuple[Any, str]] = {
    "selector": (
        {"model": SELECTOR},
        "not a fine-grained network: the selector of DnS is not converted yet by this version",
    ),
    "coarse student": ({"model": COARSE}, "not a fine-grained network: the coarse student of DnS is not converted yet"),
    "whitening as network": (
        {"mean": torch.zeros(4), "d": torch.ones(4), "V": torch.eye(4)},
        "a whitening, not a network",
    ),
    "rotation": ({"proj": torch.eye(8)}, "not a network"),
    "I3D head": (
        state_with("visil", attention__context_vector__weight=torch.zeros(1, 400)),
        "for I3D features. TensorFlow checkpoints and I3D are out of scope",
    ),
    "I3D backbone": ({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 3, 7, 7, 7)}, "an I3D network.*out of scope"),
    "another network": (
        {"encoder.weight": torch.zeros(3)},
        "not a network of ViSiL, DnS, S2VS or SSCD .*'encoder.weight'",
    ),
    "no tensors": ({}, "not a network of ViSiL, DnS, S2VS or SSCD .*no tensors"),
    "a list": ([torch.zeros(3)], "holds no state dict, but list"),
    "a tensor": (torch.zeros(3), "holds no state dict, but Tensor"),
    "model is a list": ({"model": [1, 2]}, "no state dict under 'model', but list"),
    "a number among tensors": (
        {"model": {"visil_head.conv1.weight": 5}},
        "'visil_head.conv1.weight' is int, not a tensor",
    ),
    "a number as name": ({"model": {5: torch.zeros(3)}}, "int is Tensor"),
    "a missing tensor": (
        state_with("visil", video_comperator__fconv__bias=None),
        "lacks the tensor 'video_comperator.fconv.bias'",
    ),
    "an additional tensor": (
        state_with("dns-attention", visil_head__conv4__weight=torch.zeros(3)),
        "unexpected tensor 'visil_head.conv4.weight'",
    ),
    "a wrong shape": (
        state_with("dns-attention", attention__transform__weight=torch.zeros(512, 256)),
        r"'attention.transform.weight' has shape \[512, 256\], expected \[512, 512\]",
    ),
    "another size": (
        state_with("visil", attention__context_vector__weight=torch.zeros(1, 1024)),
        r"'attention.context_vector.weight' has shape \[1, 1024\], expected \[1, 3840\]",
    ),
    "bits that do not pack": (
        {"model": state_with("dns-binarization", binarization__W=torch.zeros(512, 100))},
        r"'binarization.W' has shape \[512, 100\], expected \[512, bits\]",
    ),
    "codes without a length": (
        {"model": state_with("dns-binarization", binarization__W=torch.zeros(512))},
        r"'binarization.W' has shape \[512\]",
    ),
    "NaN": (
        nan_like("visil", "video_comperator.conv3.weight"),
        "'video_comperator.conv3.weight' holds NaN or infinite",
    ),
    "too large for float32": (
        state_with("visil", video_comperator__fconv__bias=torch.tensor([1e300], dtype=torch.float64)),
        "'video_comperator.fconv.bias' holds NaN or infinite",
    ),
    "integers": (
        state_with("visil", video_comperator__fconv__bias=torch.zeros(1, dtype=torch.int64)),
        "'video_comperator.fconv.bias' holds torch.int64",
    ),
    "a huge declared size": (
        state_with("visil", attention__context_vector__weight=HUGE),
        r"has shape \[1000000, 1000000\], expected \[1, 3840\]",
    ),
    "a tensor without memory": (
        {"model": {"visil_head.conv1.weight": torch.empty(10**6, 10**6, device="meta")}},
        "'visil_head.conv1.weight' is not a plain tensor",
    ),
    "control characters in a name": (
        {"\x1b[31mred\n": torch.zeros(3)},
        r"not a network .*'\\x1b\[31mred\\n'",
    ),
    "no whitening": (published("visil"), "pass the authors' pca_resnet50_vcdb_1M.pth"),
}


class TestRefusedNetworks:
    @pytest.mark.parametrize("case", REFUSED)
    def test_in_one_line(
        self, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content, message = REFUSED[case]
        file = save(content, tmp_path / "weights.pth")
        refused(file, message)
        refused_on_the_command_line(file, message, monkeypatch, capsys)

    def test_whole_modules_that_normalise_otherwise(self, pca: Tensors, tmp_path: Path) -> None:
        changed = {"cnn.normalizer.std": torch.ones(3)}
        module = whole_module(
            {"conv1.weight": torch.zeros(64, 3, 7, 7)}, pca["mean"], torch.zeros(3840, 512), **changed
        )
        refused(save(module, tmp_path / "whole.pth"), r"'cnn.normalizer.std' is \[1.0, 1.0, 1.0\], published")

    def test_whole_modules_beside_other_files(self, pca: Tensors, files: Path, tmp_path: Path) -> None:
        module = whole_module({"conv1.weight": torch.zeros(64, 3, 7, 7)}, pca["mean"], torch.zeros(3840, 512))
        refused(
            save(module, tmp_path / "whole.pth"), "own backbone and whitening; leave out", whitening=files / "pca.pth"
        )

    def test_whole_modules_with_unknown_parts(self, pca: Tensors, tmp_path: Path) -> None:
        module = {"cnn.cnn.conv1.weight": torch.zeros(3), "extra.weight": torch.zeros(3)}
        refused(save(module, tmp_path / "whole.pth"), "unexpected tensor 'extra.weight' in a whole ViSiL module")


def write_tensorflow_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ckpt/resnet/checkpoint", 'model_checkpoint_path: "model"')
        archive.writestr("ckpt/i3d/model.index", b"")


def write_foreign_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes/hello.txt", "hello")


def write_compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(100_000)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def write_torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sscd/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("sscd/code/__torch__/model.py", "def forward(self): ...")


def write_short(path: Path) -> None:
    torch.save(published("visil"), path)
    path.write_bytes(path.read_bytes()[:-1000])


def write_short_old_format(path: Path) -> None:
    torch.save(published("visil"), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-4])


def write_flipped(path: Path) -> None:
    torch.save(published("visil"), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a weight
    path.write_bytes(content)


def write_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 3 << 30)


def write_overstated(path: Path) -> None:
    """A storage that declares a thousand million numbers and holds two."""
    torch.save({"a": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(b"K\x02", b"J" + (10**9).to_bytes(4, "little")))


FOREIGN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "folder": ("ckpt", Path.mkdir, "a folder, not a weight file. TensorFlow checkpoints and I3D are out of scope"),
    "TensorFlow index": (
        "model.index",
        lambda p: p.write_bytes(b"x" * 40),
        "part of a TensorFlow checkpoint.*out of scope",
    ),
    "TensorFlow shard": ("m.data-00000-of-00001", lambda p: p.write_bytes(b"\0" * 40), "TensorFlow.*out of scope"),
    "TensorFlow list": ("checkpoint", lambda p: p.write_text("model_checkpoint_path:"), "TensorFlow.*out of scope"),
    "TensorFlow renamed": (
        "visil.pth",
        lambda p: p.write_bytes(b"x" * 40 + bytes.fromhex("57fb808b247547db")),
        "part of a TensorFlow checkpoint",
    ),
    "TensorFlow prefix": (
        "model",
        lambda p: p.with_name("model.index").write_bytes(b"x"),
        "a TensorFlow checkpoint.*out of scope",
    ),
    "ckpt.zip": ("ckpt.zip", write_tensorflow_zip, "holds a TensorFlow checkpoint.*I3D are out of scope"),
    "pca.npz": ("pca.npz", lambda p: np.savez(p, mean=np.zeros(3)), "TensorFlow"),
    "another zip": ("visil.pth", write_foreign_zip, "a zip archive, but not a PyTorch weight file"),
    "compressed": ("visil.pth", write_compressed, "refused: a compressed archive"),
    "TorchScript": ("sscd_disc_mixup.torchscript.pt", write_torchscript, f"which holds code; {TAKE_SSCD}"),
    "cut short": ("visil.pth", write_short, "damaged or cut short"),
    "cut short, old": ("visil.pth", write_short_old_format, "not a PyTorch weight file, or a damaged one"),
    "one bit": ("visil.pth", write_flipped, "damaged: the checksum of '.*' is wrong"),
    "overstated": ("visil.pth", write_overstated, "not a PyTorch weight file, or a damaged one"),
    "text": ("visil.pth", lambda p: p.write_text("hello, this is a text"), "not a PyTorch weight file"),
    "empty": ("visil.pth", lambda p: p.write_bytes(b""), "not a PyTorch weight file"),
    "noise": ("visil.pth", lambda p: p.write_bytes(b"\x80" + random.Random(0).randbytes(5000)), "visil.pth: "),
    "absent": ("visil.pth", lambda p: None, "no such file"),
    "too large": ("visil.pth", write_sparse, "more than any published weight file"),
    "a pipe": ("visil.pth", os.mkfifo, "no such file"),
}


class TestRefusedFiles:
    @pytest.mark.parametrize("case", FOREIGN)
    def test_in_one_line(
        self, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name, write, message = FOREIGN[case]
        file = tmp_path / name
        write(file)
        refused(file, message)
        refused_on_the_command_line(file, message, monkeypatch, capsys)
        good = save(published("dns-attention"), tmp_path / "good.pth")
        refused(good, message, whitening=file)


def write_pca(path: Path, dim: int = 3840, **changes: Tensor) -> Path:
    """A whitening file; V is stored as one number, so that it costs nothing."""
    return save({"mean": torch.zeros(dim), "d": torch.ones(dim), "V": torch.zeros(1).expand(dim, dim), **changes}, path)


class TestRefusedWhitenings:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"dim": 2048}, r"tensor 'mean' has shape \[2048\], expected \[3840\]"),
            ({"V": torch.zeros(1).expand(3840, 512)}, r"tensor 'V' has shape \[3840, 512\], expected \[3840, 3840\]"),
            ({"V": HUGE}, r"tensor 'V' has shape \[1000000, 1000000\]"),
            ({"V": torch.tensor(torch.nan).expand(3840, 3840)}, "tensor 'V' holds NaN"),
            ({"d": -torch.ones(3840)}, "of its 512 largest eigenvalues some are negative"),
        ],
    )
    def test_in_one_line(
        self,
        changes: dict[str, Any],
        message: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        pca_file = write_pca(tmp_path / "pca.pth", **changes)
        file = save(published("dns-attention"), tmp_path / "student.pth")
        refused(file, message, whitening=pca_file)
        refused_on_the_command_line(file, message, monkeypatch, capsys, whitening=pca_file)

    def test_a_network_is_no_whitening(self, tmp_path: Path) -> None:
        file = save(published("dns-attention"), tmp_path / "student.pth")
        refused(file, "not a whitening: expected the tensors mean, d and V, got 'attention", whitening=file)

    def test_the_projection_of_a_whole_module_must_fit_its_head(self, resnet: Tensors, tmp_path: Path) -> None:
        module = whole_module(resnet, torch.zeros(1, 3840), torch.zeros(1).expand(3840, 512))
        module["cnn.pca.DVt"] = torch.zeros(1).expand(3840, 256)
        refused(save(module, tmp_path / "whole.pth"), r"tensor 'DVt' has shape \[3840, 256\], expected \[3840, 512\]")


class TestRefusedBackbones:
    def test_in_one_line(self, resnet: Tensors, tmp_path: Path) -> None:
        file = save(published("dns-attention"), tmp_path / "student.pth")

        pca_file = write_pca(tmp_path / "pca.pth")

        def backbone_refused(backbone: Path, message: str) -> None:
            refused(file, message, whitening=pca_file, backbone=backbone)

        three_stages = {k: v for k, v in resnet.items() if not k.startswith("layer4")}
        save_file(three_stages, tmp_path / "short.safetensors")
        backbone_refused(tmp_path / "short.safetensors", "short.safetensors: lacks the tensor 'layer4.0.conv1.weight'")
        (tmp_path / "cut.safetensors").write_bytes((tmp_path / "short.safetensors").read_bytes()[:1000])
        backbone_refused(tmp_path / "cut.safetensors", "not a readable safetensors file")
        backbone_refused(tmp_path / "none.safetensors", "none.safetensors: no such file")
        backbone_refused(tmp_path / "none.pth", "none.pth: no such file")
        narrow = {**resnet, "conv1.weight": torch.zeros(32, 3, 7, 7)}
        backbone_refused(
            save(narrow, tmp_path / "narrow.pth"), r"'conv1.weight' has shape \[32, 3, 7, 7\], expected \[64"
        )
        broken = {**resnet, "bn1.running_var": -torch.ones(64)}
        backbone_refused(save(broken, tmp_path / "broken.pth"), "a picture has no finite region vectors")
