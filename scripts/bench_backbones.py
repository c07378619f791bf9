"""How fast small backbones see pictures and learn from them: what `mini` was chosen by.

Timed, on all threads, --rounds times in turn over all architectures, the median counts: pictures a second through the
chosen stages in float32 (search), and forward and backward in bfloat16 and float32 (training). Random weights, random
pictures; without decoding, regions, losses and the optimiser.
    python scripts/bench_backbones.py --json backbones.json
Half a minute an architecture on 4 cores. No quality is measured here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from visil.benchmarks.report import format_table, run_facts, write_json
from visil.errors import VisilError
from visil.model.backbone import BackboneSettings, build_network

ROOT = Path(__file__).resolve().parents[1]
CANDIDATES = (
    "fasternet_t0",
    "mobilenetv4_conv_small",
    "mobilenetv3_large_100",
    "mobilenetv1_100",
    "mobilenet_edgetpu_v2_xs",
    "regnety_004",
    "resnet10t",
    "starnet_s1",
)
BATCH = 64
COLUMNS = ("architecture", "million parameters", "search fp32", "training bf16", "training fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, versions and results here")
    parser.add_argument("--search-px", type=int, default=160, help="side of a picture in search  [default: 160]")
    parser.add_argument("--training-px", type=int, default=128, help="and in training  [default: 128]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()
    networks = {name: _network(name) for name in CANDIDATES}
    seen = torch.rand(BATCH, 3, options.search_px, options.search_px).contiguous(memory_format=torch.channels_last)
    learned = torch.rand(BATCH, 3, options.training_px, options.training_px).contiguous(
        memory_format=torch.channels_last
    )
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in networks}
    for _ in range(options.rounds):
        for name, network in networks.items():
            times[name].append(
                (
                    _rate(lambda: _see(network, seen)),  # noqa: B023  (called at once)
                    _rate(lambda: _learn(network, learned, torch.bfloat16)),  # noqa: B023
                    _rate(lambda: _learn(network, learned, torch.float32)),  # noqa: B023
                )
            )
    rows = [
        (
            name,
            round(sum(p.numel() for p in networks[name].parameters()) / 1e6, 2),
            *(round(statistics.median(rates)) for rates in zip(*times[name], strict=True)),
        )
        for name in networks
    ]
    print(format_table(COLUMNS, rows))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), {"rows": rows, "columns": COLUMNS})


def _network(name: str) -> nn.Module:
    """Its last two stages, as `mini` has them."""
    last = 3 if name in ("fasternet_t0", "starnet_s1") else 4
    return build_network(BackboneSettings(name, (last - 1, last))).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _rate(run: Callable[[], None]) -> float:
    """Pictures a second; the first run only warms up."""
    run()
    started_s = time.perf_counter()
    run()
    return BATCH / (time.perf_counter() - started_s)


@torch.inference_mode()
def _see(network: nn.Module, pictures: Tensor) -> None:
    network.eval()(pictures)


def _learn(network: nn.Module, pictures: Tensor, dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        maps = network.train()(pictures)
    sum(stage.float().mean() for stage in maps).backward()


if __name__ == "__main__":
    try:
        main()
    except VisilError as error:
        raise SystemExit(f"bench_backbones: {error}") from error
