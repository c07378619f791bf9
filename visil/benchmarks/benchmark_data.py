"""The yardstick's videos and queries: what is made, from what, and which pairs are matches.

    real videos, footage, stills ─► roles ─► [plan] ─► files ─► [Benchmark: library, queries, relevant and unrelated
                                                                 pairs]

Queries are edits of real videos, edits of montages, compilations of both, and videos that have no match: under the same
furniture (a title card, a logo ...) as videos of the library, of the same subject as some, neither, or as long as a
compilation. The library holds the real videos and the footage of the split, the montages, and a pan over every still
that has no other use. All of a split is made from it alone. Of the footage, most of which is of few places and makers,
some is edited.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from visil.benchmarks.benchmark_files import Compilation, Edit, Montage, Pan, make, rng_of
from visil.benchmarks.stills import Roles, Still, assign_roles, read_stills
from visil.errors import DataError
from visil.evaluation.real_videos import (
    ND,
    PART,
    RealVideo,
    RealVideos,
    components_of,
    read_footage,
    read_real_videos,
)
from visil.synth.edits import FAMILIES
from visil.synth.furniture import FURNITURE
from visil.synth.look_alikes import look_alike_pairs
from visil.synth.montage import Shot, Source, plan_compilation, plan_montage
from visil.synth.montage_truth import PlainVideo, RelatedVideos, related_matrix
from visil.synth.truth import EditTruth

SPLITS = ("val", "test")
MIN_SOURCE_S, MIN_TEMPORAL_SOURCE_S = 5.0, 10.0
MAX_QUERY_S = 10.0  # of a longer source a part is edited
QUERY_MAX_FPS, QUERY_MAX_SHORT_SIDE_PX = 15, 240  # one picture a second is compared: more would only cost time
STILLS_AROUND = 6  # host stills of a query: MAX_QUERY_S of other footage

MAX_SOURCES_OF_COMPONENT = 3  # of the folder of footage: the rest of it is only searched

NUM_SHOTS, SHOT_S = 4, (2.5, 4.0)  # of a montage that queries are made from: 10 to 16 s
NUM_CUTS = 2  # of the shots, while there is footage
MONTAGE_FPS, MONTAGE_SIZE_PX = 12, (320, 180)
COMPILATION_SIZE_PX = (426, 240)  # at the rate of queries
COMPILATIONS = "compilations"  # they share sources with each other, so all are one unit of the bootstrap

DISTRACTOR_S, NEGATIVE_S = 5.0, 8.0
NUM_LONG_SHOTS, LONG_SHOT_S = 20, 3.0  # of a long query without a match: 60 s
NUM_DESIGNS = 4  # of every kind of furniture; videos of one design are under the very same
PAN_FPS, PAN_SIZE_PX = 6, (256, 192)

# Nobody has written down what a query that shows a part of its source has in common with the source's partners. Near
# duplicates share at least about half of each file, so most of one has something in common with the other.
SHOWN_FOR_ND, SHOWN_FOR_PART = 0.6, 0.95

EDIT, NO_MATCH, LOOK_ALIKE = "edit", "no match", "look-alike"  # what a query is; or a kind of furniture
LONG_NO_MATCH = "no match, 60 s"
REAL, MONTAGE, DISTRACTOR = "real", "montage", "distractor"  # what a video is; or a kind of furniture


@dataclass(frozen=True)
class BenchmarkSettings:
    """How much is made.

    Attributes:
        num_queries: for each family and level; footages first, then montages.
        num_furniture: videos of the library, and queries, for each kind of furniture.
        num_no_match: queries of no particular subject, and as many of a subject that is in the library too.
        num_hosts: stills kept as footage around queries.
        num_long: queries of 60 s without a match.
    """

    split: str
    seed: int = 0
    num_queries: int = 60
    num_furniture: int = 20
    num_no_match: int = 20
    num_hosts: int = 60
    num_long: int = 100
    families: tuple[str, ...] = tuple(FAMILIES)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"the split must be {' or '.join(SPLITS)}, got {self.split!r}")

    @property
    def name(self) -> str:
        """Of a folder for what is made; fewer families need no other one, they make a part of the same files."""
        usual = BenchmarkSettings(self.split, self.seed, families=self.families)
        amounts = (self.num_queries, self.num_furniture, self.num_no_match, self.num_hosts, self.num_long)
        return f"{self.split}-seed{self.seed}" + ("" if self == usual else "-" + "-".join(map(str, amounts)))


@dataclass(frozen=True)
class LibraryVideo:
    """A video that is searched.

    Attributes:
        kind: REAL, MONTAGE, DISTRACTOR or a key of FURNITURE.
        tokens: what it shows: two videos with one in common are related (see `montage_truth`).
        duration_s: about.
        subject: of its still, where known.
        design: of its furniture; -1 without.
    """

    path: Path
    kind: str
    tokens: frozenset[str] = field(repr=False)
    duration_s: float
    subject: str = ""
    design: int = -1


@dataclass(frozen=True)
class Query:
    """A video that is searched for.

    Attributes:
        kind: EDIT, NO_MATCH, LONG_NO_MATCH, LOOK_ALIKE or a key of FURNITURE.
        tokens: what it shows.
        unit: of the bootstrap: sources that are related over any chain of others have one.
        family, level: of an edit.
        source: of an edit, None where it has several; `of_montage` says what the source is.
        subject: of its still, where known.
        design: of its furniture; -1 without.
    """

    path: Path
    kind: str
    tokens: frozenset[str] = field(repr=False)
    unit: str
    family: str = ""
    level: str = ""
    source: Path | None = None
    of_montage: bool = False
    subject: str = ""
    design: int = -1

    @property
    def is_pooled(self) -> bool:
        """Whether it counts in pooled figures and in thresholds."""
        return self.kind == EDIT and FAMILIES[self.family].is_pooled


@dataclass(frozen=True)
class Benchmark:
    """Library, queries, and what is true of every pair; a pair that is neither is left out of all rankings.

    Attributes:
        folder: where the made files lie; what is worked out from them is kept there too.
        is_relevant: bool [Q, V]: the video shows what was edited; of a compilation, its sources alone.
        is_unrelated: bool [Q, V]: the two have nothing in common; the only negatives.
    """

    settings: BenchmarkSettings
    folder: Path
    videos: tuple[LibraryVideo, ...] = field(repr=False)
    queries: tuple[Query, ...] = field(repr=False)
    is_relevant: np.ndarray = field(repr=False)
    is_unrelated: np.ndarray = field(repr=False)

    @property
    def video_paths(self) -> list[Path]:
        return [video.path for video in self.videos]

    @property
    def query_paths(self) -> list[Path]:
        return [query.path for query in self.queries]

    @property
    def takes_no_votes(self) -> np.ndarray:
        """Bool [Q, V]: videos that are left out for a query take nothing away from the others."""
        return ~(self.is_relevant | self.is_unrelated)


def digest_of_tables(data: Path) -> str:
    """Of the tables that the yardstick is planned by: figures of another one are not comparable.

    Raises:
        DataError: one cannot be read.
    """
    tables = [
        *(data / "videos" / f"{name}.csv" for name in ("manifest", "pairs", "split")),
        *(table for name in ("manifest", "split") if (table := data / "footage" / f"{name}.csv").exists()),
        data / "images/index.csv",
    ]
    digest = hashlib.sha256()
    try:
        for table in tables:
            digest.update(table.read_bytes())
    except OSError as error:
        raise DataError(f"{error.filename}: a table of the benchmarks cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:8]


def prepare(data: Path, work: Path, settings: BenchmarkSettings, *, workers: int) -> Benchmark:
    """Make what is missing of the benchmark in a folder below `work`, named after the settings and tables of the data.

    Args:
        data: the folder with `videos`, `images` and, if there is some, `footage`.

    Raises:
        DataError: there is too little footage or there are too few pictures, or a table cannot be read.
    """
    real = read_real_videos(data / "videos")
    others = read_footage(data / "footage") if (data / "footage").is_dir() else RealVideos(data / "footage", {}, {})
    if both := real.videos.keys() & others.videos.keys():
        raise DataError(f"{others.folder}: {min(both)!r} is the name of a file of {real.folder} too; rename one")
    folder = work / f"{settings.name}-{digest_of_tables(data)}"
    stills = read_stills(data / "images", settings.split, folder / "stills")

    footages: dict[str, list[LibraryVideo]] = {}
    for video in sorted(real.of_split(settings.split), key=lambda video: video.footage):
        footages.setdefault(video.footage, []).append(_real_video(real, video))
    edited, searched = _split_footage(others, settings)
    footages |= edited
    num_montages = max(0, *(settings.num_queries - len(_sources(footages, name)) for name in settings.families))
    roles, look_alikes = _roles(stills, settings, num_pans=num_montages * NUM_SHOTS)
    montages = _plan_montages(real, roles, settings, num_montages, folder / "library")
    pans = _plan_pans(roles, look_alikes, settings, folder / "library")
    edits = _plan_edits(footages, montages, roles, settings, folder / "queries")
    compilations = _plan_compilations(footages, montages, settings, folder / "queries")
    negatives = _plan_negatives(roles, look_alikes, settings, folder / "queries")
    long_negatives = _plan_long_negatives(roles, settings, folder / "queries")
    make([*(job for _, job in montages), *(job for _, job in pans)], workers=workers)
    planned = [*edits, *compilations, *negatives, *long_negatives]
    make([job for _, job in planned], workers=workers)

    videos = [
        *(video for videos in footages.values() for video in videos),
        *searched,
        *(video for video, _ in montages),
        *(video for video, _ in pans),
    ]
    queries = [query for query, _ in planned]
    is_relevant = np.zeros((len(queries), len(videos)), dtype=bool)
    column = {video.path: number for number, video in enumerate(videos)}
    for row, (_, job) in zip(is_relevant, edits, strict=False):
        row[column[job.source]] = True
        if job.truth.source in real.videos:
            partners = shown_partners(real, job.truth)
            row[[column[real.folder / file] for file in partners]] = True
    for row, (_, compilation) in zip(is_relevant[len(edits) :], compilations, strict=False):
        row[[column[shot.source.path] for shot in compilation.shots]] = True
    is_unrelated = ~related_matrix(queries, videos) & ~is_relevant
    return Benchmark(settings, folder, tuple(videos), tuple(queries), is_relevant, is_unrelated)


def shown_partners(real: RealVideos, truth: EditTruth) -> frozenset[str]:
    """The files that share footage with what an edit of a real video shows of it, as far as their labels tell."""
    shown = (truth.end_s - truth.start_s) / real.videos[truth.source].duration_s
    labels = {ND} if shown >= SHOWN_FOR_ND else set()
    return real.partners(truth.source, labels | ({PART} if shown >= SHOWN_FOR_PART else set()))


# --- plans: every list is of pairs, what is true of a file and the job that makes it ---


def _real_video(real: RealVideos, video: RealVideo) -> LibraryVideo:
    tokens = PlainVideo(video.file, f"video:{video.component}", video.footage).tokens
    return LibraryVideo(real.folder / video.file, REAL, tokens, video.duration_s)


def _split_footage(
    others: RealVideos, settings: BenchmarkSettings
) -> tuple[dict[str, list[LibraryVideo]], list[LibraryVideo]]:
    """Of a folder of footage: by recording what may be edited, and what is only searched."""
    rng = rng_of(settings.seed, "footage")
    by_component: dict[str, dict[str, list[LibraryVideo]]] = {}
    for video in sorted(others.of_split(settings.split), key=lambda video: (video.component, video.footage)):
        tokens = PlainVideo(video.file, f"footage:{video.component}", f"footage/{video.footage}").tokens
        found = LibraryVideo(others.folder / video.file, REAL, tokens, video.duration_s)
        by_component.setdefault(video.component, {}).setdefault(f"footage/{video.footage}", []).append(found)
    edited: dict[str, list[LibraryVideo]] = {}
    searched: list[LibraryVideo] = []
    for recordings in by_component.values():
        long_enough = [name for name, videos in recordings.items() if videos[0].duration_s >= MIN_SOURCE_S]
        chosen = {long_enough[i] for i in rng.permutation(len(long_enough))[:MAX_SOURCES_OF_COMPONENT]}
        edited |= {name: videos for name, videos in recordings.items() if name in chosen}
        searched += [video for name, videos in recordings.items() if name not in chosen for video in videos]
    return edited, searched


def _tokens(still: Still) -> frozenset[str]:
    return PlainVideo(still.path.name, f"still:{still.component}", still.component).tokens


def _source(still: Still) -> Source:
    return Source(still.path, f"still:{still.component}", footage=still.component)


def _sources(footages: Mapping[str, Sequence[LibraryVideo]], family: str) -> list[list[LibraryVideo]]:
    """For every footage that has some, the files long enough for a family of edits."""
    min_s = MIN_TEMPORAL_SOURCE_S if FAMILIES[family].is_temporal else MIN_SOURCE_S
    found = [[video for video in videos if video.duration_s >= min_s] for videos in footages.values()]
    return [videos for videos in found if videos]


def _roles(
    stills: Sequence[Still], settings: BenchmarkSettings, *, num_pans: int
) -> tuple[Roles, list[tuple[Still, Still]]]:
    """Roles of the stills, and pairs of one subject that have none: the first is for a query, the other to be searched.

    Raises:
        DataError: there are too few stills.
    """
    by_path = {still.path: still for still in stills}
    pairs = look_alike_pairs(
        rng_of(settings.seed, "look-alikes"),
        [_source(still) for still in stills if still.subject],
        {still.path: still.subject for still in stills if still.subject},
        count=settings.num_no_match,
    )
    look_alikes = [(by_path[a.path], by_path[b.path]) for a, b in pairs]
    paired = {still.path for pair in look_alikes for still in pair}
    roles = assign_roles(
        [still for still in stills if still.path not in paired],
        rng_of(settings.seed, "roles of stills"),
        num_pans=num_pans,
        num_hosts=settings.num_hosts,
        num_queries=len(FURNITURE) * settings.num_furniture + settings.num_no_match,
    )
    return roles, look_alikes


def _plan_montages(
    real: RealVideos, roles: Roles, settings: BenchmarkSettings, count: int, folder: Path
) -> list[tuple[LibraryVideo, Montage]]:
    """Montages without a piece in common. Cuts of one are of one component; components take turns while they last."""
    rng = rng_of(settings.seed, "montages")
    by_component: dict[str, list[Source]] = {}
    for video in real.of_split(settings.split):
        if video.duration_s >= SHOT_S[1]:
            source = Source(real.folder / video.file, f"video:{video.component}", video.duration_s, video.footage)
            by_component.setdefault(video.component, []).append(source)
    pans = [_source(still) for still in roles.pans]
    turns = [str(name) for name in rng.permutation(sorted(by_component))]
    planned: list[tuple[LibraryVideo, Montage]] = []
    for number in range(count):
        used = tuple(piece for _, job in planned for piece in job.truth.pieces)
        shots: list[Shot] = []
        while turns and not shots:
            component = turns.pop(0)
            for num_cuts in range(NUM_CUTS, 0, -1):
                try:
                    shots = plan_montage(
                        rng,
                        [*by_component[component], *pans],
                        fps=MONTAGE_FPS,
                        num_shots=NUM_SHOTS,
                        num_cuts=num_cuts,
                        shot_s=SHOT_S,
                        avoid_pieces=used,
                    )
                except DataError:  # the component has not so much left
                    continue
                turns.append(component)
                break
        if not shots:
            shots = plan_montage(
                rng, pans, fps=MONTAGE_FPS, num_shots=NUM_SHOTS, num_cuts=0, shot_s=SHOT_S, avoid_pieces=used
            )
        job = Montage(folder / f"montage_{number:03d}.mp4", tuple(shots), MONTAGE_FPS, MONTAGE_SIZE_PX)
        planned.append((LibraryVideo(job.path, MONTAGE, job.truth.tokens, job.truth.duration_s), job))
    return planned


def _plan_edits(
    footages: Mapping[str, Sequence[LibraryVideo]],
    montages: Sequence[tuple[LibraryVideo, Montage]],
    roles: Roles,
    settings: BenchmarkSettings,
    folder: Path,
) -> list[tuple[Query, Edit]]:
    """For every family and level one query of every footage that is long enough, filled up with montages."""
    key_of = {video.path: job.key for video, job in montages}
    everything = [*(video for videos in footages.values() for video in videos), *(video for video, _ in montages)]
    related_to = RelatedVideos(everything)
    names = [video.path.name for video in everything]
    links = [(video.path.name, names[i]) for video in everything for i in related_to.of(video)]
    unit_of = components_of(names, links)
    planned = []
    for family in settings.families:
        if FAMILIES[family].joins_sources:
            continue
        for level in FAMILIES[family].levels:
            rng = rng_of(settings.seed, "queries", family, level)
            choices = _sources(footages, family)
            chosen = [choices[i] for i in sorted(rng.permutation(len(choices))[: settings.num_queries].tolist())]
            sources = [videos[int(rng.integers(len(videos)))] for videos in chosen]
            fill = sorted(rng.permutation(len(montages))[: settings.num_queries - len(sources)].tolist())
            for number, source in enumerate([*sources, *(montages[i][0] for i in fill)]):
                hosts: tuple[Still, ...] = ()
                if FAMILIES[family].has_host:
                    around = rng.permutation(len(roles.hosts))[:STILLS_AROUND].tolist()
                    hosts = tuple(roles.hosts[i] for i in around)
                job = Edit(
                    folder / f"{family}_{level}_{number:02d}.mp4",
                    source=source.path,
                    source_key=key_of.get(source.path, ""),
                    family=family,
                    level=level,
                    seed=settings.seed,
                    span_s=_span(rng, source.duration_s),
                    hosts=tuple(still.path for still in hosts),
                    max_short_side_px=QUERY_MAX_SHORT_SIDE_PX,
                    max_fps=QUERY_MAX_FPS,
                )
                query = Query(
                    job.path,
                    EDIT,
                    source.tokens.union(*map(_tokens, hosts)),
                    unit_of[source.path.name],
                    family=family,
                    level=level,
                    source=source.path,
                    of_montage=source.kind == MONTAGE,
                )
                planned.append((query, job))
    return planned


def _plan_compilations(
    footages: Mapping[str, Sequence[LibraryVideo]],
    montages: Sequence[tuple[LibraryVideo, Montage]],
    settings: BenchmarkSettings,
    folder: Path,
) -> list[tuple[Query, Compilation]]:
    """Of one file of every footage that is long enough, and of montages, no two of them the same file."""
    key_of = {video.path: job.key for video, job in montages}
    planned = []
    for family in settings.families:
        if not FAMILIES[family].joins_sources:
            continue
        for level in FAMILIES[family].levels:
            rng = rng_of(settings.seed, "queries", family, level)
            for number in range(settings.num_queries):
                files = [videos[int(rng.integers(len(videos)))] for videos in _sources(footages, family)]
                files += [video for video, _ in montages]
                chosen = [files[i] for i in rng.permutation(len(files))[: int(FAMILIES[family].strength(level))]]
                sources = [Source(video.path, f"file:{video.path.name}", video.duration_s) for video in chosen]
                job = Compilation(
                    folder / f"{family}_{level}_{number:02d}.mp4",
                    tuple(plan_compilation(rng, sources, fps=QUERY_MAX_FPS)),
                    QUERY_MAX_FPS,
                    COMPILATION_SIZE_PX,
                    source_keys=tuple(key_of.get(video.path, "") for video in chosen),
                )
                tokens = frozenset().union(*(video.tokens for video in chosen))
                planned.append((Query(job.path, EDIT, tokens, COMPILATIONS, family=family, level=level), job))
    return planned


def _span(rng: np.random.Generator, duration_s: float) -> tuple[float, float] | None:
    """The part of a source that is edited; None: all of it."""
    if duration_s <= MAX_QUERY_S:
        return None
    start_s = float(rng.uniform(0, duration_s - MAX_QUERY_S))
    return start_s, start_s + MAX_QUERY_S


def _plan_pans(
    roles: Roles, look_alikes: Sequence[tuple[Still, Still]], settings: BenchmarkSettings, folder: Path
) -> list[tuple[LibraryVideo, Pan]]:
    """A video of every still of the library: first under furniture, then plain."""
    stills = [*roles.library, *(still for _, still in look_alikes)]
    kinds = [kind for kind in FURNITURE for _ in range(settings.num_furniture)]
    if len(kinds) > len(roles.library):
        raise DataError(f"{len(roles.library)} pictures of the library are too few for {len(kinds)} under furniture")
    kinds += [DISTRACTOR] * (len(stills) - len(kinds))
    planned = []
    for number, (still, kind) in enumerate(zip(stills, kinds, strict=True)):
        design = number % NUM_DESIGNS if kind in FURNITURE else -1
        job = _pan(folder, kind, still, settings, design)
        planned.append((LibraryVideo(job.path, kind, _tokens(still), job.duration_s, still.subject, design), job))
    return planned


def _plan_negatives(
    roles: Roles, look_alikes: Sequence[tuple[Still, Still]], settings: BenchmarkSettings, folder: Path
) -> list[tuple[Query, Pan]]:
    """Queries without any match."""
    kinds = [kind for kind in FURNITURE for _ in range(settings.num_furniture)]
    kinds += [NO_MATCH] * settings.num_no_match + [LOOK_ALIKE] * len(look_alikes)
    planned = []
    stills = [*roles.queries, *(still for still, _ in look_alikes)]
    for number, (still, kind) in enumerate(zip(stills, kinds, strict=True)):
        design = number % NUM_DESIGNS if kind in FURNITURE else -1
        job = _pan(folder, kind, still, settings, design)
        unit = f"still {still.component}"
        planned.append((Query(job.path, kind, _tokens(still), unit, subject=still.subject, design=design), job))
    return planned


def _plan_long_negatives(roles: Roles, settings: BenchmarkSettings, folder: Path) -> list[tuple[Query, Montage]]:
    """Queries of 60 s without any match: pans over stills that no video of the library shows.

    There are too few of those to show each once: a query has no still twice, but stills are met again in other queries.
    """
    rng = rng_of(settings.seed, "long queries")
    stills = [_source(still) for still in (*roles.hosts, *roles.queries)]
    shot_s = (LONG_SHOT_S, LONG_SHOT_S)
    planned = []
    for number in range(settings.num_long):
        shots = plan_montage(rng, stills, fps=PAN_FPS, num_shots=NUM_LONG_SHOTS, num_cuts=0, shot_s=shot_s)
        job = Montage(folder / f"no_match_long_{number:03d}.mp4", tuple(shots), PAN_FPS, PAN_SIZE_PX)
        planned.append((Query(job.path, LONG_NO_MATCH, job.truth.tokens, LONG_NO_MATCH), job))
    return planned


def _pan(folder: Path, kind: str, still: Still, settings: BenchmarkSettings, design: int) -> Pan:
    seed = settings.seed
    if kind in FURNITURE:  # no design of one split is met again on another
        seed = int(rng_of(settings.seed, settings.split, kind, f"design {design}").integers(2**31))
    return Pan(
        folder / f"{kind.replace(' ', '_')}_{still.path.stem}.mp4",
        still=still.path,
        seed=seed,
        duration_s=DISTRACTOR_S if kind == DISTRACTOR else NEGATIVE_S,
        fps=PAN_FPS,
        size_px=PAN_SIZE_PX,
        furniture=kind if kind in FURNITURE else "",
    )
