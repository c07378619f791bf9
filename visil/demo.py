"""The demonstration: made-up videos with known truth, indexed and searched.

synth.make_demo ─► [library, search ─► what was found, beside the truth]
                    this module
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from visil.library.library import Library
from visil.model.model import Model
from visil.synth.demo import DemoQuery, make_demo
from visil.values import Match


@dataclass(frozen=True)
class Finding:
    """What a search for one edited video gave.

    Attributes:
        query: file name of the query.
        first: the first match, its score and its true relation (`related`, `look-alike`, `unrelated`).
        times: where the first match shows what the query shows, by the truth.
        worst_related, best_unrelated, look_alike: scores; look_alike is None where the scene has none. A look-alike
            is another scene in the same style.
    """

    query: str
    first: str
    score: float
    relation: str
    times: str
    worst_related: float
    best_unrelated: float
    look_alike: float | None

    @property
    def margin(self) -> float:
        """Worst related score minus the best of all others, look-alikes too; above 0 the ranking is right."""
        others = [self.best_unrelated, *([] if self.look_alike is None else [self.look_alike])]
        return self.worst_related - max(others)


def run_demo(folder: Path, model: Model, *, seed: int = 0) -> list[Finding]:
    """Make `library/`, `queries/` and `index/` in a folder, and search every query among all videos."""
    queries = make_demo(folder, seed)
    library = Library.create(folder / "index", model)
    library.add([folder / "library"])
    results = library.search_many([query.path for query in queries], rerank="all", top=len(library.list()))
    return [_finding(query, result.matches) for query, result in zip(queries, results, strict=True)]


def _finding(query: DemoQuery, matches: list[Match]) -> Finding:
    scores = {match.video: match.score for match in matches if match.score is not None}
    related = {truth.source: truth for truth in query.related}
    first = matches[0]
    shown = related.get(first.video)
    return Finding(
        query=query.path.name,
        first=first.video,
        score=scores[first.video],
        relation=query.relation(first.video),
        times=f"{shown.start_s:.1f}-{shown.end_s:.1f} s" if shown is not None else "",
        worst_related=min(scores[name] for name in related),
        best_unrelated=max(scores[name] for name in query.unrelated),
        look_alike=max((scores[name] for name in query.look_alikes), default=None),
    )
