"""Memory and time of a step of S2VS on the CPU: all pairs at once, and block by block with products computed twice.

    python scripts/bench_training.py                      # the paper's batch: 64 clips, 2 views of 32 frames, 9 x 512
    python scripts/bench_training.py --clips 16 --regions 14 --dim 384

Each row is one step, forward and backward, in a process of its own, on random unit vectors; what the process had before
it is left out. All at once takes about 15 GB for the paper's batch: `--blocks-only` leaves it out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection

import torch
import torch.nn.functional as F

from visil.model.network import NetworkSettings, SimilarityNetwork
from visil.s2vs.labels import label, video_shares
from visil.s2vs.losses import clip_info_nce, hardest_negative, self_similarity
from visil.s2vs.pair_scores import BLOCK_BYTES, score_all_pairs

ALL_AT_ONCE = 2**60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64, help="of a batch; each has two views  [default: 64]")
    parser.add_argument("--frames", type=int, default=32, help="of a view  [default: 32]")
    parser.add_argument("--regions", type=int, default=9, help="of a frame  [default: 9]")
    parser.add_argument("--dim", type=int, default=512, help="of a region vector  [default: 512]")
    parser.add_argument("--blocks-only", action="store_true", help="not all pairs at once")
    options = parser.parse_args()
    if min(options.clips, options.frames - 3, options.regions, options.dim) < 1:
        parser.error("clips, regions and dim must be at least 1, frames at least 4")
    shape = (2 * options.clips, options.frames, options.regions, options.dim)
    print(f"one step over {shape[0]} views of {shape[1]} frames, {shape[2]} regions of {shape[3]} dimensions")
    print(f"{torch.get_num_threads()} threads of torch {torch.__version__}")
    kinds = {"block by block": BLOCK_BYTES} | ({} if options.blocks_only else {"all at once": ALL_AT_ONCE})
    for name, block_bytes in kinds.items():
        peak_bytes, seconds, loss = _measured(shape, block_bytes)
        print(f"{name:16} {peak_bytes / 1e9:6.2f} GB {seconds:7.1f} s   loss {loss:.5f}", flush=True)
    return 0


def _measured(shape: tuple[int, int, int, int], block_bytes: int) -> tuple[float, float, float]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_step, args=(shape, block_bytes, there))
    process.start()
    there.close()
    try:
        measured: tuple[float, float, float] = here.recv()
    except EOFError:
        raise SystemExit(f"bench_training: a step was ended by the system (exit status {process.exitcode})") from None
    process.join()
    return measured


def _step(shape: tuple[int, int, int, int], block_bytes: int, pipe: Connection) -> None:
    torch.manual_seed(0)
    network = SimilarityNetwork(NetworkSettings(attention="sigmoid", comparator_padding="zeros"), shape[3])
    vectors = F.normalize(torch.randn(shape), dim=-1)
    count = shape[0] // 2
    labels = label(video_shares(torch.full((count,), -1), torch.ones(count)))
    before = _peak_bytes()
    started_s = time.perf_counter()
    scores = score_all_pairs(network, vectors, block_bytes=block_bytes)
    nce = clip_info_nce(scores.similarity, labels.is_positive, labels.is_negative, temperature=0.03)
    sshn = hardest_negative(scores.similarity, labels.is_negative) + self_similarity(scores.similarity)
    loss = nce + 3 * sshn + scores.regularisation
    loss.backward()
    pipe.send((_peak_bytes() - before, time.perf_counter() - started_s, loss.item()))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
