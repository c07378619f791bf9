"""A bundle file is read back as it was written, or refused in one line; its hash covers everything."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from visil.errors import ModelError
from visil.media.preprocessing import PRESETS
from visil.model.backbone import BackboneSettings
from visil.model.bundle import Bundle, BundleSettings, RegionSettings, check_picture, load_bundle
from visil.model.catalogue import named_bundles
from visil.model.model import Model
from visil.model.network import NetworkSettings

SETTINGS = BundleSettings(
    name="small",
    preprocessing=replace(PRESETS["whole-frame"], blank="flat", bars="keep"),
    backbone=BackboneSettings("resnet18", stages=(1, 2), options={"output_stride": 16}),
    regions=RegionSettings("adaptive", 3),
    network=NetworkSettings(attention="linear", comparator_padding="zeros"),
    licence="Apache-2.0",
    training_data="none",
)

KEEPS_BLANK = replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, blank="keep"))
EVERY_FORMAT = [
    SETTINGS,
    replace(SETTINGS, regions=RegionSettings("pyramid")),
    replace(SETTINGS, preprocessing=PRESETS["whole-frame"]),
    replace(SETTINGS, regions=RegionSettings("pyramid", levels=(1, 2), shares=(0.6, 0.4))),
    replace(SETTINGS, network=NetworkSettings(burstiness=0.25)),
]

FORMATS_PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "backbone.conv1.weight": torch.randn(4, 3, 3, 3, generator=generator).half(),
        "backbone.bn1.weight": torch.randn(4, generator=generator),
        "whitening.mean": torch.randn(6, generator=generator),
        "check.region_vectors": torch.randn(1, 9, 6, generator=generator),
    }


BUNDLE = Bundle(SETTINGS, tensors())
CHECK = {"check.region_vectors": torch.ones(1, 9, 6)}
CHECK_PICTURE_SHA256 = "a381fa67a22ce182f10f6744f4fa0489e3b872dbba1f2c5d8d6ae6c55c5a1d3e"  # of 224 x 224


def header_of(path: Path) -> dict[str, Any]:
    """The metadata entry `visil`, read without safetensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["visil"])
    return header


def write(path: Path, header: dict[str, Any]) -> Path:
    """A file of BUNDLE's tensors with any header."""
    save_file(dict(BUNDLE.tensors), path, {"visil": json.dumps(header)})
    return path


def header(**changes: Any) -> dict[str, Any]:
    return {"format_version": 1, "hash": BUNDLE.hash, **SETTINGS.as_json(), **changes}


def pyramid(*levels: int) -> BundleSettings:
    return replace(SETTINGS, regions=RegionSettings("pyramid", levels=levels))


class TestRoundTrip:
    def test_gives_the_same_settings_tensors_and_hash(self, tmp_path: Path) -> None:
        BUNDLE.save(tmp_path / "b.safetensors")
        again = load_bundle(tmp_path / "b.safetensors")
        assert again.settings == SETTINGS
        assert again.hash == BUNDLE.hash
        assert again.tensors.keys() == BUNDLE.tensors.keys()
        for name, tensor in BUNDLE.tensors.items():
            assert again.tensors[name].dtype == tensor.dtype
            assert torch.equal(again.tensors[name], tensor)

    @settings(max_examples=20, deadline=None)
    @given(
        name=st.text(max_size=20),
        fps=st.floats(0.01, 240),
        min_samples=st.integers(1, 32),
        part_samples=st.one_of(st.none(), st.integers(1, 10**5)),
        options=st.fixed_dictionaries({}, optional={"pad_type": st.text(max_size=5), "img_size": st.integers(1, 2048)}),
        shape=st.lists(st.integers(0, 4), max_size=4),
    )
    def test_of_any_settings_and_shapes(
        self,
        name: str,
        fps: float,
        min_samples: int,
        part_samples: int | None,
        options: dict[str, Any],
        shape: list[int],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "any.safetensors"
        changed = replace(
            SETTINGS,
            name=name,
            preprocessing=replace(SETTINGS.preprocessing, fps=fps, min_samples=min_samples),
            backbone=replace(SETTINGS.backbone, options=options),
            part_samples=part_samples,
        )
        bundle = Bundle(changed, {**CHECK, "whitening.mean": torch.ones(shape)})
        bundle.save(path)
        again = load_bundle(path)
        assert (again.settings, again.hash) == (changed, bundle.hash)

    @pytest.mark.parametrize("levels", [(1, 2, 3), (1,), (2, 4, 8)])
    def test_of_a_pyramid_of_regions(self, levels: tuple[int, ...], tmp_path: Path) -> None:
        bundle = Bundle(pyramid(*levels), BUNDLE.tensors)
        bundle.save(tmp_path / "b.safetensors")
        again = load_bundle(tmp_path / "b.safetensors")
        assert (again.settings, again.hash) == (bundle.settings, bundle.hash)

    @pytest.mark.parametrize(("blank", "skips"), [("keep", False), ("flat", True)])
    def test_what_older_formats_can_say_is_written_in_their_words(
        self, blank: str, skips: bool, tmp_path: Path
    ) -> None:
        made = replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, blank=blank))
        Bundle(made, BUNDLE.tensors).save(tmp_path / "b.safetensors")
        written = header_of(tmp_path / "b.safetensors")
        assert (written["format_version"], written["preprocessing"]["skip_blank"]) == (1, skips)
        assert not {"blank", "bars"} & set(written["preprocessing"])
        assert load_bundle(tmp_path / "b.safetensors").settings == made

    @pytest.mark.parametrize("changes", [{"blank": "flat-spots"}, {"bars": "cut"}, {"blank": "keep", "bars": "cut"}])
    @pytest.mark.parametrize("regions", [RegionSettings(), RegionSettings("pyramid")], ids=lambda r: r.scheme)
    def test_newer_rules_are_written_by_name_in_format_3(
        self, changes: dict[str, str], regions: RegionSettings, tmp_path: Path
    ) -> None:
        made = replace(SETTINGS, regions=regions, preprocessing=replace(SETTINGS.preprocessing, **changes))
        Bundle(made, BUNDLE.tensors).save(tmp_path / "b.safetensors")
        written = header_of(tmp_path / "b.safetensors")
        assert written["format_version"] == 3
        assert {"blank": "flat", "bars": "keep", **changes}.items() <= written["preprocessing"].items()
        assert "skip_blank" not in written["preprocessing"]
        assert ("levels" in written["regions"]) == (regions.scheme == "pyramid")
        assert load_bundle(tmp_path / "b.safetensors").settings == made

    def test_shares_of_levels_are_written_in_format_5(self, tmp_path: Path) -> None:
        made = replace(SETTINGS, regions=RegionSettings("pyramid", levels=(1, 2), shares=(0.6, 0.4)))
        Bundle(made, BUNDLE.tensors).save(tmp_path / "b.safetensors")
        written = header_of(tmp_path / "b.safetensors")
        assert (written["format_version"], written["regions"]["shares"]) == (5, [0.6, 0.4])
        assert load_bundle(tmp_path / "b.safetensors").settings == made

    def test_burstiness_is_written_in_format_6_and_only_where_there_is_any(self, tmp_path: Path) -> None:
        made = replace(SETTINGS, network=NetworkSettings(burstiness=0.25))
        Bundle(made, BUNDLE.tensors).save(tmp_path / "b.safetensors")
        written = header_of(tmp_path / "b.safetensors")
        assert (written["format_version"], written["network"]["burstiness"]) == (6, 0.25)
        assert load_bundle(tmp_path / "b.safetensors").settings == made
        assert "burstiness" not in SETTINGS.as_json()["network"]

    def test_windows_of_a_level_share_what_it_counts(self) -> None:
        assert RegionSettings("pyramid", levels=(1, 2), shares=(0.6, 0.4)).weights == (0.6, 0.1, 0.1, 0.1, 0.1)
        assert RegionSettings("pyramid", levels=(1, 2)).weights is None

    def test_tensors_that_are_views_are_written_as_what_they_show(self, tmp_path: Path) -> None:
        weight = torch.arange(12.0).reshape(3, 4)
        Bundle(SETTINGS, {**CHECK, "whitening.projection": weight.T}).save(tmp_path / "b.safetensors")
        assert torch.equal(load_bundle(tmp_path / "b.safetensors").tensors["whitening.projection"], weight.T)

    def test_parts_come_as_float32_without_their_prefix(self) -> None:
        part = BUNDLE.part("backbone")
        assert part.keys() == {"conv1.weight", "bn1.weight"}
        assert {tensor.dtype for tensor in part.values()} == {torch.float32}


class TestHash:
    @pytest.mark.parametrize("made", EVERY_FORMAT, ids=lambda made: str(made.format_version))
    def test_of_every_format_is_what_docs_formats_computes(self, made: BundleSettings, tmp_path: Path) -> None:
        Bundle(made, BUNDLE.tensors).save(tmp_path / "b.safetensors")
        self.run_the_page(tmp_path / "b.safetensors")

    @pytest.mark.parametrize("path", named_bundles().values(), ids=lambda path: path.stem)
    def test_of_the_bundles_of_the_package_is_what_docs_formats_computes(self, path: Path) -> None:
        self.run_the_page(path)

    @staticmethod
    def run_the_page(path: Path) -> None:
        """The code of the page, which needs the standard library alone, runs to its last assertion."""
        (code,) = re.findall(r"```python\n(.*?)```", FORMATS_PAGE.read_text(encoding="utf-8"), re.DOTALL)
        assert code.rstrip().endswith("assert digest.hexdigest() == stored")
        exec(compile(code, str(FORMATS_PAGE), "exec"), {"path": path})

    @pytest.mark.parametrize(
        "changed",
        [
            replace(SETTINGS, name="other"),
            replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, fps=2.0)),
            replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, blank="keep")),
            replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, blank="flat-spots")),
            replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, bars="cut")),
            replace(SETTINGS, preprocessing=replace(SETTINGS.preprocessing, mean=(0.5, 0.5, 0.5))),
            replace(SETTINGS, backbone=replace(SETTINGS.backbone, name="resnet34")),
            replace(SETTINGS, backbone=replace(SETTINGS.backbone, stages=(1, 3))),
            replace(SETTINGS, backbone=replace(SETTINGS.backbone, options={})),
            replace(SETTINGS, backbone=replace(SETTINGS.backbone, stride_in_first_conv=True)),
            replace(SETTINGS, regions=RegionSettings("limac", 3)),
            replace(SETTINGS, regions=RegionSettings("adaptive", 4)),
            replace(SETTINGS, regions=RegionSettings("pyramid")),
            replace(SETTINGS, regions=RegionSettings("whole")),
            replace(SETTINGS, network=replace(SETTINGS.network, symmetric=True)),
            replace(SETTINGS, network=replace(SETTINGS.network, pooling=False)),
            replace(SETTINGS, part_samples=None),
            replace(SETTINGS, licence="MIT"),
            replace(SETTINGS, training_data="some"),
        ],
    )
    def test_changes_with_every_setting(self, changed: BundleSettings) -> None:
        assert Bundle(changed, BUNDLE.tensors).hash != BUNDLE.hash

    @pytest.mark.parametrize("name", list(BUNDLE.tensors))
    def test_changes_with_every_tensor(self, name: str) -> None:
        one_bit = BUNDLE.tensors[name].clone()
        one_bit.view(torch.uint8).view(-1)[-1] ^= 1
        others = {n: t for n, t in BUNDLE.tensors.items() if n != name}
        hashes = {
            Bundle(SETTINGS, changed).hash
            for changed in (
                others,
                {**others, name: one_bit},
                {**others, name: BUNDLE.tensors[name].double()},
                {**others, name: BUNDLE.tensors[name].flatten()[None]},
                {**others, f"{name}2": BUNDLE.tensors[name]},
            )
        }
        assert len(hashes | {BUNDLE.hash}) == 6

    def test_changes_with_the_levels_of_a_pyramid(self) -> None:
        hashes = {Bundle(pyramid(*levels), BUNDLE.tensors).hash for levels in ((1, 2, 3), (1, 2), (1, 2, 4))}
        assert len(hashes) == 3

    @pytest.mark.parametrize(
        ("made", "its_hash"),
        [
            (SETTINGS, "216241b2ade8746fb3b03d739e7aaafe0af82d51d5e20ec07bcf7d0055a9a7e5"),
            (KEEPS_BLANK, "edb2737684a53c69f4e73a8b9ddeca8b3b7cc3aef6859a4a7f29623fb7594a1b"),
            (
                replace(SETTINGS, regions=RegionSettings("pyramid")),
                "3508f7bd7330f0d8992fcbaac045764cf7d921d38a301d1a2b80b9bffe22e13e",
            ),
            (
                replace(KEEPS_BLANK, regions=RegionSettings("pyramid")),
                "a27888301445765c950002bfdd471d85b8255890da3ccba369bc492ecd307e8f",
            ),
        ],
    )
    def test_of_a_bundle_of_formats_1_and_2_is_what_it_was(self, made: BundleSettings, its_hash: str) -> None:
        """Hashes stand in libraries and in tables of results."""
        assert Bundle(made, BUNDLE.tensors).hash == its_hash

    def test_does_not_change_with_the_order_of_tensors(self) -> None:
        assert Bundle(SETTINGS, dict(reversed([*BUNDLE.tensors.items()]))).hash == BUNDLE.hash


class TestRefusedFiles:
    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"none.safetensors: no such bundle"):
            load_bundle(tmp_path / "none.safetensors")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, struct.pack("<Q", 1 << 60), b"PK\x03\x04" * 9])
    def test_of_another_format(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "b.safetensors"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"b.safetensors: not a readable bundle"):
            load_bundle(path)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="not a readable bundle"):
            load_bundle(tmp_path)

    def test_safetensors_without_our_metadata(self, tmp_path: Path) -> None:
        for metadata in (None, {"format": "pt"}):
            save_file(tensors(), tmp_path / "b.safetensors", metadata)
            with pytest.raises(ModelError, match="a safetensors file, but not a bundle of visil"):
                load_bundle(tmp_path / "b.safetensors")

    @pytest.mark.parametrize("text", ["", "{", "not json", "NaNcy"])
    def test_metadata_that_is_not_json(self, text: str, tmp_path: Path) -> None:
        save_file(tensors(), tmp_path / "b.safetensors", {"visil": text})
        with pytest.raises(ModelError, match="not a readable bundle"):
            load_bundle(tmp_path / "b.safetensors")

    @pytest.mark.parametrize("value", [None, [], 5, "text", {}])
    def test_metadata_that_is_no_object(self, value: Any, tmp_path: Path) -> None:
        save_file(tensors(), tmp_path / "b.safetensors", {"visil": json.dumps(value)})
        with pytest.raises(ModelError, match="the settings of the bundle are not valid"):
            load_bundle(tmp_path / "b.safetensors")

    def test_with_a_bias_that_its_format_does_not_know(self, tmp_path: Path) -> None:
        Bundle(pyramid(1, 2), {**BUNDLE.tensors, "whitening.bias": torch.ones(4)}).save(tmp_path / "b.safetensors")
        with pytest.raises(
            ModelError, match=r"b.safetensors: a bias after the regions pyramid; only .* whole have one"
        ):
            load_bundle(tmp_path / "b.safetensors")

    @pytest.mark.parametrize("version", [0, 7, "1", None])
    def test_of_another_format_version(self, version: Any, tmp_path: Path) -> None:
        path = write(tmp_path / "b.safetensors", header(format_version=version))
        with pytest.raises(ModelError, match=f"bundle format {version}, this visil reads formats 1 to 6; update one"):
            load_bundle(path)

    def test_whose_settings_are_of_another_format_than_it_says(self, tmp_path: Path) -> None:
        path = write(tmp_path / "b.safetensors", header(format_version=2))
        with pytest.raises(ModelError, match=r"not valid \(they are of format 1, not 2\)"):
            load_bundle(path)
        named = header(format_version=3, preprocessing=asdict(SETTINGS.preprocessing))
        with pytest.raises(ModelError, match=r"not valid \(they are of format 1, not 3\)"):
            load_bundle(write(tmp_path / "b.safetensors", named))
        path = write(tmp_path / "b.safetensors", header(regions=asdict(RegionSettings("pyramid"))))
        with pytest.raises(ModelError, match=r"not valid \(they are of format 2, not 1\)"):
            load_bundle(path)

    @pytest.mark.parametrize(
        "changes",
        [
            {"unknown": 1},
            {"preprocessing": {"unknown": 1}},
            {"preprocessing": {"blank": "flat"}},  # of format 3
            {"preprocessing": {"bars": "keep"}},
            {"preprocessing": {"skip_blank": "yes"}},
            {"preprocessing": {"skip_blank": None}},
            {"format_version": 3, "preprocessing": {"skip_blank": True}},
            {"format_version": 3, "preprocessing": {"blank": "dark"}},
            {"format_version": 3, "preprocessing": {"bars": True}},
            {"backbone": {"name": "resnet18"}},  # no stages
            {"backbone": None},
            {"network": {"attention": "quadratic"}},
            {"network": {"bits": 512, "attention": "linear"}},
            {"preprocessing": {"sampling": "random"}},
            {"preprocessing": {"sampling": "keyframes"}},  # of a library only
            {"preprocessing": {"fps": "fast"}},
            {"preprocessing": {"size_px": 10**9}},
            {"name": "\ud800"},  # half of a surrogate pair
            {"preprocessing": {"fps": 10**400}},  # no float is as large
            {"regions": {"scheme": "spiral"}},
            {"regions": {"grid": 0}},
            {"regions": {"grid": 5000}},
            {"regions": {"scheme": "adaptive", "levels": [1, 2]}},  # of the pyramid
            *(
                {"format_version": 2, "regions": {"scheme": "pyramid", "levels": levels}}
                for levels in ([], [0, 1], [2, 1], [1, 1], [1, 9], [1.0], "123", None)
            ),
            {"format_version": 5, "regions": {"scheme": "adaptive", "shares": [1.0]}},  # of the pyramid
            *(
                {"format_version": 5, "regions": {"scheme": "pyramid", "levels": [1, 2], "shares": shares}}
                for shares in ([1.0], [0.5, 0.25, 0.25], [0.5, 0.4], [1.5, -0.5], ["a", "b"], None)
            ),
            {"format_version": 2, "regions": {"scheme": "pyramid", "levels": [1, 2], "shares": [0.5, 0.5]}},
            {"part_samples": 0},
            {"part_samples": "all"},
        ],
    )
    def test_with_settings_that_do_not_exist(self, changes: dict[str, Any], tmp_path: Path) -> None:
        path = write(tmp_path / "b.safetensors", header(**changes))
        with pytest.raises(ModelError, match=r"b.safetensors: the settings of the bundle are not valid"):
            load_bundle(path)

    @pytest.mark.parametrize(
        "option", ["pretrained", "checkpoint_path", "pretrained_cfg", "cache_dir", "features_only"]
    )
    def test_with_options_that_would_load_other_files(self, option: str, tmp_path: Path) -> None:
        backbone = {**asdict(SETTINGS.backbone), "options": {option: "/etc/passwd"}}
        path = write(tmp_path / "b.safetensors", header(backbone=backbone))
        with pytest.raises(ModelError, match=f"backbone option '{option}' is not allowed"):
            load_bundle(path)

    @pytest.mark.parametrize(
        "name", ["hf-hub:someone/evil", "hf_hub:timm/resnet18", "local-dir:/tmp/evil", "resnet18x"]
    )
    def test_whose_backbone_is_no_architecture_of_timm(self, name: str) -> None:
        changed = replace(SETTINGS, backbone=BackboneSettings(name, stages=(1,)), network=NetworkSettings())
        model = Model(Bundle(changed, {"check.region_vectors": torch.zeros(1, 9, 6)}), device="cpu")
        with pytest.raises(ModelError, match=f"timm has no architecture '{name}'"):
            model.check()

    @pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2])
    def test_with_numbers_of_a_quarter_precision(self, kind: torch.dtype, tmp_path: Path) -> None:
        path = tmp_path / "b.safetensors"
        Bundle(SETTINGS, {**BUNDLE.tensors, "whitening.mean": torch.ones(6).to(kind)}).save(path)
        with pytest.raises(ModelError, match=r"b.safetensors: tensor 'whitening.mean' is of float8_\w+, which visil"):
            load_bundle(path)

    def test_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "b.safetensors"
        BUNDLE.save(path)
        content = path.read_bytes()
        for length in (0, 7, 100, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:length])
            with pytest.raises(ModelError, match="not a readable bundle"):
                load_bundle(path)

    def test_changed_by_one_bit(self, tmp_path: Path) -> None:
        path = tmp_path / "b.safetensors"
        BUNDLE.save(path)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # the last weight
        path.write_bytes(content)
        with pytest.raises(ModelError, match="the bundle is damaged: its content does not match its hash"):
            load_bundle(path)

    def test_with_another_setting_under_the_same_hash(self, tmp_path: Path) -> None:
        path = write(tmp_path / "b.safetensors", header(licence="MIT"))
        with pytest.raises(ModelError, match="damaged"):
            load_bundle(path)


class TestSave:
    def test_replaces_a_file_at_once_or_not_at_all(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "b.safetensors"
        BUNDLE.save(path)
        before = path.read_bytes()

        def full_disk(*args: Any, **_: Any) -> None:
            Path(args[1]).write_bytes(b"half a file")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("visil.model.bundle.save_file", full_disk)
        with pytest.raises(ModelError, match=r"b.safetensors: cannot be written"):
            Bundle(replace(SETTINGS, name="new"), BUNDLE.tensors).save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["b.safetensors"]

    def test_writes_what_the_format_says(self, tmp_path: Path) -> None:
        BUNDLE.save(tmp_path / "new" / "b.safetensors")
        stored = header_of(tmp_path / "new" / "b.safetensors")
        assert stored == json.loads(json.dumps(header()))
        assert stored["regions"] == {"scheme": "adaptive", "grid": 3}

    def test_says_format_2_for_a_pyramid_of_regions(self, tmp_path: Path) -> None:
        """A visil that knows format 1 alone then says so, instead of naming a field."""
        Bundle(pyramid(1, 2), BUNDLE.tensors).save(tmp_path / "b.safetensors")
        stored = header_of(tmp_path / "b.safetensors")
        assert stored["format_version"] == 2
        assert stored["regions"] == {"scheme": "pyramid", "grid": 3, "levels": [1, 2]}

    def test_says_format_4_for_one_region_of_the_whole_picture(self, tmp_path: Path) -> None:
        """A visil that knows no bias would leave it out."""
        bundle = Bundle(
            replace(SETTINGS, regions=RegionSettings("whole")), {**BUNDLE.tensors, "whitening.bias": torch.ones(4)}
        )
        bundle.save(tmp_path / "b.safetensors")
        stored = header_of(tmp_path / "b.safetensors")
        assert stored["format_version"] == 4
        assert stored["regions"] == {"scheme": "whole", "grid": 3}
        assert load_bundle(tmp_path / "b.safetensors").hash == bundle.hash

    def test_where_a_folder_is_in_the_way(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be written"):
            BUNDLE.save(tmp_path)
        assert list(tmp_path.parent.glob("*.partial")) == []

    def test_where_a_file_is_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ModelError, match="cannot be written"):
            BUNDLE.save(tmp_path / "file" / "b.safetensors")


class TestCheckPicture:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_is_the_same_everywhere_and_of_the_input_size(self, preset: str) -> None:
        picture = check_picture(PRESETS[preset])
        assert (picture.shape, picture.dtype) == ((1, 224, 224, 3), np.uint8)
        assert hashlib.sha256(picture.tobytes()).hexdigest() == CHECK_PICTURE_SHA256


def test_every_bundle_of_the_package_loads() -> None:
    for path in named_bundles().values():
        assert load_bundle(path).settings.licence
