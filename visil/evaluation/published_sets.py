"""FIVR-200K, FIVR-5K, EVVE, CC_WEB_VIDEO and SVD: the published annotations, read into ground truth.

    annotations/ (in the package) ─► [FIVR, EVVE, CC_WEB_VIDEO, SVD] ─► GroundTruth
                                     this module

A function named after a data set reads it from the package; one that ends in `_ground_truth` takes the parsed
annotation, so that synthetic ones go the same way. Licences and sources lie beside the annotations. What the data sets
count, and where their evaluators differ, are fields of `Task`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, cast

from visil.errors import DataError
from visil.evaluation.ground_truth import NO_VIDEOS, GroundTruth, Task

FIVR_TASKS = {"DSVR": ("ND", "DS"), "CSVR": ("ND", "DS", "CS"), "ISVR": ("ND", "DS", "CS", "IS"), "DAVR": ("DA",)}
FIVR_LABELS = ("ND", "DS", "CS", "IS", "DA")
CC_WEB_POSITIVE = frozenset("ESLMV")  # exact, similar, longer, major edit, different version

FIVR_SOURCE = "MKLab-ITI/FIVR-200K, annotation of January 2021 (Apache-2.0)"
EVVE_SOURCE = "EVVE, as distributed with mever-team/distill-and-select (Apache-2.0)"
CC_WEB_VIDEO_SOURCE = "CC_WEB_VIDEO, as distributed with mever-team/distill-and-select (Apache-2.0)"
SVD_SOURCE = "SVD test pairs, as distributed with mever-team/distill-and-select (Apache-2.0)"

Annotation = Mapping[str, Mapping[str, Sequence[str]]]  # query -> label -> videos


def fivr_200k() -> GroundTruth:
    """FIVR-200K: 100 queries, 225,960 videos."""
    annotation = _packaged_json("fivr/annotation.json.gz")
    database = _packaged_text("fivr/youtube_ids.txt.gz").split()
    return fivr_ground_truth("FIVR-200K", annotation, list(annotation), database, _easy_duplicates())


def fivr_5k() -> GroundTruth:
    """FIVR-5K: 50 of the queries, 5,000 videos. Only one of the queries is among them."""
    subset = _packaged_json("fivr/fivr5k.json.gz")
    annotation = _packaged_json("fivr/annotation.json.gz")
    return fivr_ground_truth("FIVR-5K", annotation, subset["queries"], subset["database"], _easy_duplicates())


def evve() -> GroundTruth:
    """EVVE: 13 events, 620 queries, 2,373 database videos."""
    return evve_ground_truth(_packaged_json("evve/annotation.json.gz"))


def cc_web_video() -> GroundTruth:
    """CC_WEB_VIDEO: 24 query sets, 13,115 videos, four protocols."""
    return cc_web_video_ground_truth(_packaged_json("cc_web_video/annotation.json.gz"))


def svd(unlabelled: Iterable[str] = ()) -> GroundTruth:
    """The test queries of SVD: 206, with 6,355 labelled pairs; `unlabelled`: see `svd_ground_truth`."""
    return svd_ground_truth(_packaged_text("svd/test_groundtruth.txt.gz").splitlines(), unlabelled)


def fivr_ground_truth(
    name: str,
    annotation: Annotation,
    queries: Sequence[str],
    database: Sequence[str],
    easy_duplicates: Collection[str] = (),
) -> GroundTruth:
    """Tasks DSVR, CSVR, ISVR and DAVR, and their hard variants; see `fivr_tasks`."""
    tasks = fivr_tasks(annotation, queries, easy_duplicates)
    return GroundTruth(name, tuple(queries), tuple(database), tuple(tasks), source=FIVR_SOURCE)


def fivr_tasks(annotation: Annotation, queries: Sequence[str], easy_duplicates: Collection[str] = ()) -> list[Task]:
    """Tasks DSVR, CSVR, ISVR and DAVR, and their hard variants.

    Labels overlap: a task takes the union of its labels. A query without any video of a task's labels has no entry in
    it.

    Args:
        annotation: labels ND, DS, CS, IS, DA; queries that are not in `queries` are ignored.
        easy_duplicates: taken out of the database in the hard variant; empty: there are no hard tasks.
    """
    tasks = []
    for name, labels in FIVR_TASKS.items():
        relevant = {query: _union(annotation.get(query, {}), labels) for query in queries}
        relevant = {query: videos for query, videos in relevant.items() if videos}
        detection = name[:-1] + "D"
        tasks.append(Task(name, relevant, detection))
        if easy_duplicates:
            tasks.append(Task(f"{name} hard", relevant, f"{detection} hard", removed=frozenset(easy_duplicates)))
    return tasks


def evve_ground_truth(annotation: Mapping[str, Any]) -> GroundTruth:
    """One task: what is relevant to a query are the positives of its event; trapezoid form.

    The published evaluator ranks whatever is scored, the query and other queries too (as misses), so they are in the
    database; a search ranks the database videos.

    Args:
        annotation: {events: {name: {queries, positives}}, queries, database}.
    """
    relevant, events = {}, {}
    for event, members in annotation["events"].items():
        positives = frozenset(members["positives"])
        for query in members["queries"]:
            relevant[query] = positives
            events[query] = event
    task = Task("EVVE", relevant, form="trapezoid", ranks_query=True, empty_is_zero=True, groups=events)
    searched = tuple(annotation["database"])
    queries = tuple(annotation["queries"])
    return GroundTruth("EVVE", queries, (*searched, *queries), (task,), searched=searched, source=EVVE_SOURCE)


def cc_web_video_ground_truth(annotation: Mapping[str, Any]) -> GroundTruth:
    """Four protocols: `cc_web` ranks the labelled videos of the query's set, `cc_web*` all; `_c` are the cleaned ones.

    A query is labelled as a copy of itself, and is ranked. What is not available stays relevant, also the one relevant
    number that no video has: it gets an id that cannot be a video's.

    Args:
        annotation: {queries, index: {video: number}, ground_truth: [{number: label}], excluded: [[number]]}; position
            in the lists is the query set.
    """
    video_of = {number: video for video, number in annotation["index"].items()}

    def ids(numbers: Iterable[int]) -> frozenset[str]:
        return frozenset(video_of.get(number, f"number {number}, without video") for number in numbers)

    relevant, labelled, excluded = {}, {}, {}
    for query, labels, out in zip(
        annotation["queries"], annotation["ground_truth"], annotation["excluded"], strict=True
    ):
        relevant[query] = ids(int(number) for number, label in labels.items() if label in CC_WEB_POSITIVE)
        labelled[query] = ids(map(int, labels))
        excluded[query] = ids(out)

    def task(name: str, candidates: Mapping[str, frozenset[str]] | None, left_out: dict[str, frozenset[str]]) -> Task:
        return Task(
            name,
            relevant,
            candidates=candidates,
            left_out=left_out,
            ranks_query=True,
            counts_query=True,
            counts_unavailable=True,
        )

    tasks = (
        task("cc_web", labelled, {}),
        task("cc_web*", None, {}),
        task("cc_web_c", labelled, excluded),
        task("cc_web_c*", None, excluded),
    )
    return GroundTruth(
        "CC_WEB_VIDEO", tuple(annotation["queries"]), tuple(annotation["index"]), tasks, source=CC_WEB_VIDEO_SOURCE
    )


def svd_ground_truth(lines: Iterable[str], unlabelled: Iterable[str] = (), *, where: str = SVD_SOURCE) -> GroundTruth:
    """Task `SVD labelled`: a query's own labelled candidates are ranked; `SVD unlabelled`: and the unlabelled videos.

    Average precision is that of thresholds, whatever the ties of the report: equal scores count as one group.

    Args:
        lines: `query candidate label`, label 1 or 0.
        unlabelled: ids of the unlabelled videos, negatives of every query; none: there is no such task.
        where: the lines are from, for errors.

    Raises:
        DataError: a line has another form, or a pair comes twice.
    """
    relevant: dict[str, set[str]] = {}
    candidates: dict[str, set[str]] = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[2] not in ("0", "1"):
            raise DataError(f"{where}: line {number} is {line[:80]!r}, not 'query candidate label' with label 0 or 1")
        query, candidate, label = fields
        relevant.setdefault(query, set())
        if candidate in candidates.setdefault(query, set()):
            raise DataError(f"{where}: line {number}: the pair {query}, {candidate} is there twice")
        candidates[query].add(candidate)
        if label == "1":
            relevant[query].add(candidate)
    labelled = {query: frozenset(videos) for query, videos in candidates.items()}
    positives = {query: frozenset(videos) for query, videos in relevant.items()}
    database = dict.fromkeys(video for query in candidates for video in sorted(candidates[query]))
    tasks = [Task("SVD labelled", positives, candidates=labelled, ties="group")]
    shared = frozenset(unlabelled)
    if shared:
        database |= dict.fromkeys(sorted(shared))
        tasks.append(Task("SVD unlabelled", positives, candidates=labelled, shared_candidates=shared, ties="group"))
    return GroundTruth("SVD", tuple(candidates), tuple(database), tuple(tasks), source=SVD_SOURCE)


def _union(labels: Mapping[str, Iterable[str]], names: Iterable[str]) -> frozenset[str]:
    return NO_VIDEOS.union(*(labels.get(name, ()) for name in names))


def _easy_duplicates() -> frozenset[str]:
    return frozenset(_packaged_text("fivr/easy_duplicates.txt.gz").split())


def _packaged_text(name: str) -> str:
    packed = resources.files("visil.evaluation").joinpath("annotations", *name.split("/")).read_bytes()
    return gzip.decompress(packed).decode("utf-8")


def _packaged_json(name: str) -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(_packaged_text(name)))
