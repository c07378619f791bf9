"""How fast videos become samples: all frames decoded, only those that sampling needs, key frames alone.

Files: every fourth of --data/videos as it is, and one of them (30 s of 720p) encoded anew: H.264 in 720p and
1080p, HEVC, VP9 and Motion JPEG in 720p, with the encoders' own choice of groups and B-frames.
Ways, all with pictures of 224 x 224 and one sample a second:
    all frames    every frame is decoded; `decoder` beside it does nothing else and is its limit
    needed        what `visil index` does: the same samples, byte for byte; its `decoder` is given the same packets
    key frames    `--sampling keyframes`; what it costs in quality: bench_edits.py --sampling keyframes
Timed: opening, reading, decoding, resizing. Not timed: starting processes, passing frames to the parent; the
files are in memory. Every way in turn, --rounds times, the fastest round counts; first in one process, then
in one on each core at a time, all doing the same. A video's frames a second count those that are not decoded.
    python scripts/bench_decode.py --json decode.json
Takes about 8 minutes on 4 cores; the first time 2 more to encode the files, which are kept in --work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter

import av

from visil.benchmarks.report import benchmark_parser, format_table, run_facts, write_json
from visil.media.opening import open_video
from visil.media.preprocessing import PRESETS
from visil.media.pyav_reader import PyAVReader
from visil.media.thinning import Wanted, thinning_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "bbb_opening__webm30.webm"  # 1280 x 720, 30 s
MADE = {  # file: (encoder, its options, size)
    "720p_h264.mp4": ("libx264", {"preset": "medium"}, (1280, 720)),
    "1080p_h264.mp4": ("libx264", {"preset": "medium"}, (1920, 1080)),
    "720p_hevc.mp4": ("libx265", {"preset": "fast", "x265-params": "log-level=none"}, (1280, 720)),
    "720p_vp9.webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "5", "b": "2M"}, (1280, 720)),
    "720p_mjpeg.avi": ("mjpeg", {"qmax": "5"}, (1280, 720)),
}
BY_TIME = PRESETS["whole-frame"]
KEY_FRAMES = replace(BY_TIME, sampling="keyframes")
Work = Callable[[Sequence[Path]], int]  # does it, and says how many packets were decoded, or samples taken


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    options = parser.parse_args()

    videos = options.data / "videos"
    suffixes = {".mp4", ".mkv", ".mov", ".m4v", ".webm", ".gif"}
    sets = {name: [made(videos / SOURCE, options.work / "decode", name)] for name in MADE}
    sets["real videos"] = [path for path in sorted(videos.iterdir()) if path.suffix in suffixes][::4]

    rows, results = [], {}
    for name, paths in sets.items():
        duration_s, num_frames = length(paths)
        counts = {way: work(paths) for way, work in WAYS.items()}  # and warms up
        results[name] = {"files": len(paths), "seconds": duration_s, "frames": num_frames, "counts": counts}
        for workers in (1, options.workers):
            seconds = fastest_rounds(paths, workers, options.rounds)
            speeds = {way: workers * duration_s / took_s for way, took_s in seconds.items()}
            results[name][f"times real time, {workers} processes"] = speeds
            rate = num_frames / duration_s
            for way, speed in speeds.items():
                limit = f"{speed / speeds[f'decoder, {way}']:.2f}" if f"decoder, {way}" in speeds else ""
                gain = speed / speeds["all frames"]
                rows.append((name, workers, way, round(speed), round(speed * rate), counts[way], f"{gain:.2f}", limit))
    columns = ("file", "processes", "way", "x real time", "frames/s", "count", "x all frames", "of its limit")
    print(format_table(columns, rows), end="\n\n")
    print(f"{os.cpu_count()} cores; count: packets given to the decoder, or samples")
    if options.json:
        write_json(options.json, run_facts(ROOT, vars(options)), results)


def decode_all(paths: Sequence[Path]) -> int:
    """The decoder alone, on all packets."""
    return sum(_decode(path, in_full=True) for path in paths)


def decode_needed(paths: Sequence[Path]) -> int:
    """The decoder alone, on the packets that sampling needs."""
    return sum(_decode(path, in_full=False) for path in paths)


def _decode(path: Path, *, in_full: bool) -> int:
    container, stream = open_video(path)
    wanted = Wanted(Fraction(BY_TIME.fps), Fraction(0), None, num_first=BY_TIME.min_samples)
    chosen = None if in_full else thinning_of(container, stream, wanted)
    num_packets = 0
    with container:
        packets = container.demux(stream)
        for packet in packets if chosen is None else chosen.needed(packets):
            packet.decode()
            num_packets += packet.size > 0
    return num_packets


def read_all(paths: Sequence[Path]) -> int:
    """Samples of all videos, every frame decoded."""
    return sum(len(frames) for path in paths for frames in PyAVReader(in_full=True).read(path, BY_TIME))


def read_needed(paths: Sequence[Path]) -> int:
    """Samples of all videos as `visil index` takes them."""
    return sum(len(frames) for path in paths for frames in PyAVReader().read(path, BY_TIME))


def read_key_frames(paths: Sequence[Path]) -> int:
    """Key frames of all videos, at most one a second."""
    return sum(len(frames) for path in paths for frames in PyAVReader().read(path, KEY_FRAMES))


WAYS: dict[str, Work] = {
    "decoder, all frames": decode_all,
    "all frames": read_all,
    "decoder, needed": decode_needed,
    "needed": read_needed,
    "key frames": read_key_frames,
}


def fastest_rounds(paths: Sequence[Path], workers: int, rounds: int) -> dict[str, float]:
    """Seconds of every way until all processes have done it."""
    took_s: dict[str, list[float]] = {way: [] for way in WAYS}
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(read_needed, [paths[:1]] * workers))  # starts the processes
        for _ in range(rounds):
            for way, work in WAYS.items():
                start_s = perf_counter()
                list(pool.map(work, [paths] * workers))
                took_s[way].append(perf_counter() - start_s)
    return {way: min(times_s) for way, times_s in took_s.items()}


def length(paths: Sequence[Path]) -> tuple[float, int]:
    """Seconds and frames of all videos together, from their packets."""
    duration_s, num_frames = 0.0, 0
    for path in paths:
        container, stream = open_video(path)
        with container:
            packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        duration_s += sum(float((p.duration or 0) * p.time_base) for p in packets)
        num_frames += len(packets)
    return duration_s, num_frames


def made(source: Path, folder: Path, name: str) -> Path:
    """The source in another codec and size; made once."""
    encoder, codec_options, (width, height) = MADE[name]
    path = folder / name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"partial_{name}"
    with av.open(str(source)) as original, av.open(str(partial), "w") as output:
        stream = output.add_stream(encoder, rate=original.streams.video[0].average_rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
        stream.codec_context.options = dict(codec_options)
        for number, picture in enumerate(original.decode(video=0)):
            frame = picture.reformat(width=width, height=height, format=stream.pix_fmt)
            frame.pts, frame.time_base = number, 1 / Fraction(stream.average_rate)
            frame.pict_type = av.video.frame.PictureType.NONE  # the encoder's choice
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return partial.rename(path)


if __name__ == "__main__":
    main()
