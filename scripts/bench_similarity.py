"""Pairs a second of the fine score: ours, the papers' einsum, and the bare matrix product (the limit).

One query against many targets of its own length, 9 regions x 512 dimensions, for 30, 60 and 300 frames. Targets go
from strangers to the query itself, so that scores do too; the comparator has random weights.
    product  all region vectors multiplied, nothing else: the faster of MKL and oneDNN, in one call, in one a target or
             in one for every 60 frames; of packed signs: Hamming distances by faiss, on one core
    einsum   pair by pair as the papers write it, the comparator as published
    visil    all targets in one call, as `visil search` does; packed: sign codes of 512 bits
Timed: vectors in memory, as they are multiplied, to scores. Not timed: reading, decoding, encoding, process start.
All ways alternate in one process. A time is the median of the rounds, a ratio the median of the ratios within a
round: `x product` to the product of the same precision, `x fp32` to the same way in float32; an aim is what it should
be at most. `error` is the largest of a score, against float32. The profile of a way that misses its aim follows.
    python scripts/bench_similarity.py --threads 2 --json similarity.json
`--precision fp16` is for processors that have it: without avx512_fp16 it takes ten times as long as float32.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.profiler import profile

from visil.benchmarks.report import format_table, run_facts, write_json
from visil.model.binarization import hamming_distances, pack_signs
from visil.model.comparator import Comparator
from visil.model.network import NetworkSettings, SimilarityNetwork

ROOT = Path(__file__).resolve().parents[1]
NUM_REGIONS, DIM = 9, 512
NUM_TARGETS = {30: 128, 60: 48, 300: 4}  # by frames of a video
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_FEATURES = "avx2 avx512f avx512_vnni avx512_vpopcntdq avx512_bf16 avx512_fp16 amx_tile amx_bf16".split()
PRODUCT_AIM = 1.2  # times of the product, at most
COMPARATOR_AIMS = {60: 1.8}  # the same with the comparator, by frames
FP32_AIMS = {("bf16", False): 1 / 2, ("bf16", True): 1 / 2, ("packed", False): 1 / 4}  # times of float32, at most
PROFILED_OPERATIONS = 6


@dataclass(frozen=True)
class Way:
    """One way to compare the query with all targets; of several that are called alike the fastest counts."""

    name: str
    precision: str
    comparator: bool
    run: Callable[[], object]

    def is_called(self, name: str, precision: str, comparator: bool) -> bool:
        return (self.name, self.precision, self.comparator) == (name, precision, comparator)


@dataclass(frozen=True)
class Row:
    """A way and what was measured of it; None where there is nothing to say."""

    way: str
    precision: str
    comparator: bool
    ms_per_pair: float
    pairs_per_s: float
    x_product: float
    product_aim: float | None
    x_fp32: float
    fp32_aim: float | None
    error: float | None

    @property
    def misses_an_aim(self) -> bool:
        return self.x_product > (self.product_aim or self.x_product) or self.x_fp32 > (self.fp32_aim or self.x_fp32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, action="append", choices=NUM_TARGETS, help="[default: all three]")
    parser.add_argument("--precision", action="append", choices=["bf16", "fp16"], help="[default: bf16]")
    parser.add_argument("--rounds", type=int, default=15, help="[default: 15]")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="[default: torch's]")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N  [default: cpu]")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save settings, versions and results here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    machine = f"{processor(device)}, {options.threads} threads"

    results = {}
    for frames in options.frames or NUM_TARGETS:
        query, targets = some_videos(frames, device)
        ways = list(ways_of(query, targets, ["fp32", *(options.precision or ["bf16"]), "packed"]))
        rows = measured(ways, frames, options.rounds)
        results[frames] = [asdict(row) for row in rows]
        print(f"\n{frames} frames, {len(targets)} targets; {machine}")
        cells = [["" if cell is None else cell for cell in astuple(row)] for row in rows]
        print(format_table([field.name for field in fields(Row)], cells))
        for row in rows:
            if row.misses_an_aim:
                way = next(way for way in ways if way.is_called(row.way, row.precision, row.comparator))
                print(f"\n{way.name} {way.precision}{' with comparator' * way.comparator} misses its aim:")
                print(profiled(way))
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)) | {"processor": machine}, results)


def some_videos(frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A query [T, R, D] and targets [N, T, R, D], of random unit vectors; the targets hold it more and more."""
    num_targets = NUM_TARGETS[frames]
    query = F.normalize(torch.randn(frames, NUM_REGIONS, DIM), dim=-1)
    strangers = F.normalize(torch.randn(num_targets, frames, NUM_REGIONS, DIM), dim=-1)
    share = torch.linspace(0, 1, num_targets)[:, None, None, None]
    targets = F.normalize(share * query.roll(frames // 3, 0) + (1 - share) * strangers, dim=-1)
    return query.to(device), targets.to(device)


def ways_of(query: Tensor, targets: Tensor, precisions: Sequence[str]) -> Iterator[Way]:
    """All ways, on the same videos."""
    networks = [
        SimilarityNetwork(NetworkSettings(comparator_padding=padding), DIM).to(query.device).eval()
        for padding in (None, "replicate")
    ]
    for network in networks:
        yield Way("einsum", "fp32", network.comparator is not None, partial(published_scores, network, query, targets))
    for precision in precisions:
        if precision == "packed":
            sides = pack_signs(query), pack_signs(targets)
        else:
            sides = query.to(TYPES[precision]), targets.to(TYPES[precision])
        for product in products(*sides):
            yield Way("product", precision, False, product)
        for network in networks:
            run = partial(visil_scores, network, *sides, TYPES.get(precision, torch.float32))
            yield Way("visil", precision, network.comparator is not None, run)


def products(query: Tensor, targets: Tensor) -> Iterator[Callable[[], object]]:
    """The ways to multiply all region vectors: in one call, in one a target, in one for every 60 frames."""
    rows = rearrange(query, "i o d -> (i o) d")
    columns = rearrange(targets, "n j p d -> (n j p) d")
    for size in (len(columns), len(columns) // len(targets), 60 * NUM_REGIONS):
        parts = columns.split(size)
        if query.dtype == torch.uint8:
            yield lambda parts=parts: [hamming_distances(part.cpu().numpy(), rows.cpu().numpy()) for part in parts]
            continue
        yield lambda parts=parts: [part @ rows.T for part in parts]
        if query.device.type == "cpu" and query.dtype == torch.float32:  # half precision goes to oneDNN anyway
            yield lambda parts=parts: [onednn_product(part, rows) for part in parts]


def onednn_product(x: Tensor, y: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, y, None, "none", [], "")


def visil_scores(network: SimilarityNetwork, query: Tensor, targets: Tensor, dtype: torch.dtype) -> Tensor:
    """As a search computes them, [N]."""
    with torch.autocast(query.device.type, dtype=dtype, enabled=dtype != torch.float32):
        similarity = network.frame_similarity(query, rearrange(targets, "n j p d -> (n j) p d"))
        return network.scores_of_similarity(similarity.split(targets.shape[1], dim=1))


def published_scores(network: SimilarityNetwork, query: Tensor, targets: Tensor) -> Tensor:
    """Pair by pair, [N]."""
    return torch.stack([published_score(query, target, network.comparator) for target in targets])


def published_score(query: Tensor, target: Tensor, comparator: Comparator | None) -> Tensor:
    """All products of regions, their maximum and mean, the comparator layer by layer, and Chamfer."""
    similarity = torch.einsum("iod,jpd->iojp", query, target).amax(dim=3).mean(dim=1)  # [Tq, Tt]
    if comparator is not None:
        x = rearrange(similarity, "i j -> 1 1 i j")
        for conv in (comparator.conv1, comparator.conv2):
            x = F.max_pool2d(F.relu(conv(F.pad(x, (1, 1, 1, 1), mode="replicate"))), 2)
        x = F.relu(comparator.conv3(F.pad(x, (1, 1, 1, 1), mode="replicate")))
        similarity = F.hardtanh(rearrange(comparator.fconv(x), "1 1 i j -> i j"))
    return similarity.amax(dim=1).mean()


@torch.inference_mode()
def measured(ways: Sequence[Way], frames: int, rounds: int) -> list[Row]:
    """A row for every way, of those called alike for the fastest."""
    outcomes = [way.run() for way in ways]
    times: list[list[float]] = [[] for _ in ways]  # seconds by way and round
    for _ in range(rounds):
        for way, seconds in zip(ways, times, strict=True):
            start = time.perf_counter()
            way.run()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)

    def fastest(name: str, precision: str, comparator: bool) -> int:
        alike = [number for number, way in enumerate(ways) if way.is_called(name, precision, comparator)]
        return min(alike, key=lambda number: median(times[number]))

    def ratio(number: int, to: int) -> float:
        return median(ours / theirs for ours, theirs in zip(times[number], times[to], strict=True))

    rows = []
    for number, way in enumerate(ways):
        if number != fastest(way.name, way.precision, way.comparator):
            continue
        is_ours, is_half = way.name == "visil", way.precision in ("bf16", "fp16")
        in_fp32 = fastest(way.name, "fp32", way.comparator)
        product_aim = COMPARATOR_AIMS.get(frames) if way.comparator else PRODUCT_AIM
        seconds_per_pair = median(times[number]) / NUM_TARGETS[frames]
        rows.append(
            Row(
                way=way.name,
                precision=way.precision,
                comparator=way.comparator,
                ms_per_pair=1000 * seconds_per_pair,
                pairs_per_s=1 / seconds_per_pair,
                x_product=ratio(number, fastest("product", way.precision, False)),
                product_aim=product_aim if is_ours and way.precision != "packed" else None,
                x_fp32=ratio(number, in_fp32),
                fp32_aim=FP32_AIMS.get((way.precision, way.comparator)) if is_ours else None,
                error=float((outcomes[number] - outcomes[in_fp32]).abs().max()) if is_ours and is_half else None,
            )
        )
    return rows


@torch.inference_mode()
def profiled(way: Way) -> str:
    """The operations of PyTorch that take longest, without what they call; numpy and faiss are not seen."""
    with profile() as profiler:
        way.run()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    rows = [(event.key, event.count, event.self_cpu_time_total / total) for event in events[:PROFILED_OPERATIONS]]
    return format_table(("operation", "calls", "share"), rows)


def processor(device: torch.device) -> str:
    """Its name and which of the features that count here it has."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if not Path("/proc/cpuinfo").exists():
        return f"{platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    features = facts.get("flags", "").split()
    return f"{facts.get('model name')} ({' '.join(name for name in CPU_FEATURES if name in features)})"


if __name__ == "__main__":
    main()
