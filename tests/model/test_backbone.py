"""Backbones: maps of any timm network at any size, options that change what a network computes, and refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from visil.errors import ModelError
from visil.media.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from visil.model.backbone import Backbone, BackboneSettings, build_network, import_timm


@pytest.fixture(autouse=True, scope="module")
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def backbone(name: str, stages: tuple[int, ...], **settings: Any) -> Backbone:
    torch.manual_seed(0)
    return Backbone(BackboneSettings(name, stages, **settings), mean=IMAGENET_MEAN, std=IMAGENET_STD)


def pictures(height: int, width: int, *, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)


def maps_of(network: Backbone, images: Tensor) -> list[Tensor]:
    with torch.inference_mode():
        return network(images)


SIZES = [(224, 224), (96, 96), (100, 150), (65, 33)]


class TestConvolutionalNetworks:
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize(
        ("name", "stages", "channels", "strides"),
        [
            ("resnet18", (1, 2), (64, 128), (4, 8)),
            ("resnet18", (4,), (512,), (32,)),
            ("mobilenetv2_035", (1, 3, 4), (8, 32, 112), (4, 16, 32)),
            ("convnext_atto", (0, 3), (40, 320), (4, 32)),
        ],
    )
    def test_give_one_map_a_stage(
        self,
        name: str,
        stages: tuple[int, ...],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        size: tuple[int, int],
    ) -> None:
        network = backbone(name, stages)
        assert (network.strides, network.dim) == (strides, sum(channels))
        maps = maps_of(network, pictures(*size))
        assert [m.shape[:2] for m in maps] == [(2, c) for c in channels]
        for stage, stride in zip(maps, strides, strict=True):
            for cells, pixels in zip(stage.shape[2:], size, strict=True):
                assert pixels // stride <= cells <= -(-pixels // stride)  # networks round either way

    def test_see_pictures_normalised_by_mean_and_std(self) -> None:
        network = backbone("resnet18", (1,))
        images = pictures(64, 64)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        normalised = ((images / 255 - mean) / std).movedim(-1, 1)
        with torch.inference_mode():
            expected = network.network(normalised)
        torch.testing.assert_close(maps_of(network, images), expected)

    def test_stay_as_they_are_in_training_and_give_each_picture_its_own_map(self) -> None:
        network = backbone("resnet18", (1,)).train()
        assert not any(module.training for module in network.modules())
        assert not any(parameter.requires_grad for parameter in network.parameters())
        images = pictures(64, 64, count=3)
        alone = torch.cat([maps_of(network, image[None])[0] for image in images])
        torch.testing.assert_close(maps_of(network, images)[0], alone)

    @pytest.mark.parametrize("stages", [(2, 1), (1, 1), (1, -4)])
    def test_are_chosen_in_ascending_order_only(self, stages: tuple[int, ...]) -> None:
        """timm gives maps in its own order, whatever the order asked for."""
        with pytest.raises(ModelError, match="stages must be ascending"):
            BackboneSettings("resnet18", stages)


class TestTransformers:
    NAME = "vit_tiny_patch16_224"

    def test_give_their_patch_tokens_as_maps(self) -> None:
        """Token r·columns + c of a block is cell (r, c); the class token is no cell."""
        network = backbone(self.NAME, (3, 11))
        assert (network.strides, network.dim) == ((16, 16), 2 * 192)
        tokens: list[Tensor] = []
        blocks = network.network.get_submodule("model").get_submodule("blocks")
        hooks = [block.register_forward_hook(lambda *a: tokens.append(a[2])) for block in blocks.children()]
        maps = maps_of(network, pictures(224, 224))
        for hook in hooks:
            hook.remove()
        assert [m.shape for m in maps] == [(2, 192, 14, 14)] * 2
        for stage, block in zip(maps, (3, 11), strict=True):
            patches = tokens[block][:, 1:]  # [2, 196, 192]
            torch.testing.assert_close(stage.flatten(2).mT, patches)

    @pytest.mark.parametrize(("size", "cells"), [((224, 224), (14, 14)), ((160, 224), (10, 14)), ((96, 48), (6, 3))])
    def test_take_other_sizes_with_dynamic_img_size(self, size: tuple[int, int], cells: tuple[int, int]) -> None:
        network = backbone(self.NAME, (11,), options={"dynamic_img_size": True})
        assert maps_of(network, pictures(*size))[0].shape == (2, 192, *cells)

    def test_take_another_fixed_size_with_img_size(self) -> None:
        network = backbone(self.NAME, (0,), options={"img_size": 96})
        assert maps_of(network, pictures(96, 96))[0].shape == (2, 192, 6, 6)


class TestStrideInFirstConv:
    def test_moves_the_stride_of_every_stage(self) -> None:
        for moved, first, second in ((False, (1, 1), (2, 2)), (True, (2, 2), (1, 1))):
            network = backbone("resnet50", (1, 2, 3, 4), stride_in_first_conv=moved).network
            for stage in ("layer2", "layer3", "layer4"):
                block = network.get_submodule(f"{stage}.0")
                assert (block.conv1.stride, block.conv2.stride) == (first, second)
                later = network.get_submodule(f"{stage}.1")
                assert (later.conv1.stride, later.conv2.stride) == ((1, 1), (1, 1))

    def test_gives_other_maps_of_the_same_sizes(self) -> None:
        images = pictures(64, 64)
        plain = backbone("resnet50", (1, 2, 3))
        for name, parameter in plain.network.named_parameters():
            if name.endswith("bn3.weight"):
                parameter.fill_(1.0)  # timm starts it at 0, and the convolutions would not show
        moved = backbone("resnet50", (1, 2, 3), stride_in_first_conv=True)
        moved.network.load_state_dict(plain.network.state_dict())
        here, there = maps_of(plain, images), maps_of(moved, images)
        assert [m.shape for m in here] == [m.shape for m in there]
        torch.testing.assert_close(here[0], there[0])  # the first stage has no stride
        for a, b in zip(here[1:], there[1:], strict=True):
            assert not torch.allclose(a, b, rtol=0.1)

    @pytest.mark.parametrize("name", ["resnet18", "mobilenetv1_100", "vit_tiny_patch16_224"])
    def test_is_refused_where_there_are_no_bottlenecks(self, name: str) -> None:
        with pytest.raises(ModelError, match=f"{name} has no bottleneck blocks"):
            build_network(BackboneSettings(name, (1,), stride_in_first_conv=True))


class TestOptions:
    def test_pad_type_changes_what_a_mobilenet_computes(self) -> None:
        images = pictures(64, 64)
        plain = maps_of(backbone("mobilenetv1_100", (1, 4)), images)
        same = maps_of(backbone("mobilenetv1_100", (1, 4), options={"pad_type": "same"}), images)
        assert [m.shape for m in plain] == [m.shape for m in same]
        assert not torch.allclose(plain[-1], same[-1], rtol=0.1)

    def test_output_stride_keeps_deep_maps_large(self) -> None:
        network = backbone("resnet18", (4,), options={"output_stride": 16})
        assert network.strides == (16,)
        assert maps_of(network, pictures(64, 64))[0].shape == (2, 512, 4, 4)

    @pytest.mark.parametrize(
        "option", ["pretrained", "checkpoint_path", "features_only", "pretrained_cfg", "__class__"]
    )
    def test_outside_the_list_are_refused(self, option: str) -> None:
        with pytest.raises(ModelError, match=f"backbone option '{option}' is not allowed; known: "):
            BackboneSettings("resnet18", (1,), options={option: "x"})

    def test_that_a_network_does_not_take_are_refused(self) -> None:
        with pytest.raises(ModelError, match=r"timm cannot build 'resnet18'.*pad_type"):
            build_network(BackboneSettings("resnet18", (1,), options={"pad_type": "same"}))


class TestNames:
    @pytest.mark.parametrize(
        "name", ["", "resnet", "ResNet18", "hf-hub:someone/evil", "hf_hub:timm/resnet18", "local-dir:/tmp"]
    )
    def test_that_timm_does_not_know_are_refused(self, name: str) -> None:
        with pytest.raises(ModelError, match=f"timm has no architecture '{name}'"):
            build_network(BackboneSettings(name, (1,)))

    @pytest.mark.parametrize("stages", [(9,), (0, 1, 2, 3, 4, 5)])
    def test_stages_that_a_network_does_not_have_are_refused(self, stages: tuple[int, ...]) -> None:
        with pytest.raises(ModelError, match=r"timm cannot build 'resnet18' with stages"):
            build_network(BackboneSettings("resnet18", stages))

    def test_a_backbone_without_stages_is_refused(self) -> None:
        with pytest.raises(ModelError, match="ascending indices, at least one"):
            BackboneSettings("resnet18", ())


class TestPretrainedWeights:
    def test_come_from_timms_own_download(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.manual_seed(5)
        published: nn.Module = import_timm().create_model("resnet18")
        save_file(published.state_dict(), tmp_path / "model.safetensors")
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(tmp_path / "model.safetensors"))
        network = build_network(BackboneSettings("resnet18", (1, 2)), pretrained=True)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, published.state_dict()[name])

    def test_without_a_network_end_in_one_clear_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(*_: Any, **options: Any) -> str:
            assert options["local_files_only"]  # nothing is asked of a hub that cannot be reached
            raise FileNotFoundError

        monkeypatch.setattr("huggingface_hub.hf_hub_download", absent)
        monkeypatch.setattr("visil.model.backbone._resolves", lambda url: False)
        with pytest.raises(
            ModelError, match=r"not on this machine and https://.* cannot be reached: connect once"
        ) as caught:
            build_network(BackboneSettings("resnet18", (1,)), pretrained=True)
        assert "\n" not in str(caught.value)

    def test_that_a_hub_does_not_give_end_in_the_same_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> str:
            raise ConnectionError("reset by peer")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
        monkeypatch.setattr("visil.model.backbone._resolves", lambda url: True)
        with pytest.raises(ModelError, match="cannot be reached"):
            build_network(BackboneSettings("resnet18", (1,)), pretrained=True)

    def test_that_timm_does_not_publish_are_refused(self) -> None:
        unpublished = next(n for n in ("resnet50_mlp", "vit_base_patch16_18x2_224") if import_timm().is_model(n))
        with pytest.raises(ModelError, match="timm publishes no weights"):
            build_network(BackboneSettings(unpublished, (1,)), pretrained=True)


LEAN = (
    ("resnet18", (1, 2), {}),
    ("resnet50", (2, 3), {}),
    ("mobilenetv1_100", (4,), {"pad_type": "same"}),
    ("mobilenetv4_conv_small", (2, 3), {}),
    ("convnext_atto", (0, 3), {}),
    ("vit_tiny_patch16_224", (11,), {"dynamic_img_size": True}),
    ("swin_tiny_patch4_window7_224", (1,), {}),  # it has buffers that no state dict carries
)


class TestImport:
    """In a fresh interpreter, with warnings as errors."""

    @staticmethod
    def run(code: str) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def test_of_timm_works_beside_a_torchvision_for_another_torch(self) -> None:
        code = (
            "from visil.model.backbone import import_timm, import_timm as again;"
            "t = import_timm(); assert again() is t; print(t.create_model('resnet18').num_classes)"
        )
        assert self.run(code).strip() == "1000"

    def test_of_the_module_alone_loads_neither_timm_nor_torchvision(self) -> None:
        code = "import sys, visil.model.model; print([m for m in ('timm', 'torchvision') if m in sys.modules])"
        assert self.run(code).strip() == "[]"

    def test_in_part_gives_the_networks_of_the_whole_timm_and_then_the_whole_timm_as_ever(self) -> None:
        self.run(f"""
import sys, torch
from visil.model.backbone import BackboneSettings, build_network, import_timm
from visil.model.lean_timm import create_lean

settings = [BackboneSettings(name, stages, options) for name, stages, options in {LEAN!r}]
lean = [build_network(s, initialise=False) for s in settings]
loaded = {{name.split(".")[0] for name in sys.modules}}
assert loaded.isdisjoint({{"timm", "torchvision", "huggingface_hub", "sympy"}}), loaded
assert "torch._dynamo" not in sys.modules

timm = import_timm()
assert len(timm.list_models()) > 1000 and timm.create_model("resnet18").num_classes == 1000
assert timm.data.create_transform(224)
assert create_lean("resnet18") is None  # what is imported is used

torch.set_num_threads(1)
images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
for mine, s in zip(lean, settings, strict=True):
    torch.manual_seed(0)
    whole = build_network(s)
    assert type(whole) is not type(mine) and type(whole).__name__ == type(mine).__name__
    mine.load_state_dict(whole.state_dict())
    with torch.inference_mode():
        for here, there in zip(mine.eval()(images), whole.eval()(images), strict=True):
            assert torch.equal(here, there), s.name
""")

    def test_in_part_falls_back_on_the_whole(self) -> None:
        """A name that timm does not know, a network traced by torchvision, a family that looks different."""
        self.run("""
import sys, pytest
from visil.errors import ModelError
from visil.model.backbone import BackboneSettings, build_network
from visil.model.lean_timm import create_lean

assert create_lean("resnet", features_only=True) is None
assert create_lean("resnet18", features_only=True, out_indices=(9,)) is None
assert create_lean("../resnet18") is None
assert not [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision", "huggingface_hub")]
with pytest.raises(ModelError, match="timm cannot build 'resnet18' with stages"):
    build_network(BackboneSettings("resnet18", (9,)))
assert "timm" in sys.modules
""")


class TestUninitialised:
    """Networks whose weights will be loaded."""

    @pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
    def test_differ_in_nothing_that_is_not_loaded(self, name: str) -> None:
        plain = build_network(BackboneSettings(name, (1,)))
        bare = build_network(BackboneSettings(name, (1,)), initialise=False)
        loaded = plain.state_dict()
        assert bare.state_dict().keys() == loaded.keys()
        bare_buffers = dict(bare.named_buffers())
        for buffer, tensor in plain.named_buffers():
            torch.testing.assert_close(bare_buffers[buffer], tensor)

    def test_draw_no_random_number(self) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        build_network(BackboneSettings("resnet18", (1,)), initialise=False)
        assert torch.equal(torch.get_rng_state(), before)
