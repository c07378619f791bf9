"""The metrics once more, as loops over sorted Python lists: what tests and the benchmark compare the fast ones with."""

from collections.abc import Sequence

Pair = tuple[float, bool]  # score, is relevant


def average_precision(pairs: Sequence[Pair], num_relevant: int, form: str = "rectangle", ties: str = "group") -> float:
    """Of one list in the order of its file."""
    if ties == "group" and form == "trapezoid":
        return sum(average_precision(pairs, num_relevant, form, rule) for rule in ("best", "worst")) / 2
    if ties == "group":
        total = 0.0
        for score in {score for score, _ in pairs}:
            kept = [is_relevant for other, is_relevant in pairs if other >= score]
            total += sum(kept) / len(kept) * sum(is_relevant for other, is_relevant in pairs if other == score)
        return total / num_relevant
    sign = {"stable": 0, "best": -1, "worst": 1}[ties]
    found, total = 0, 0.0
    for rank, (_, is_relevant) in enumerate(sorted(pairs, key=lambda pair: (-pair[0], sign * pair[1])), start=1):
        if is_relevant:
            before = found / (rank - 1) if rank > 1 else 1.0
            found += 1
            total += found / rank if form == "rectangle" else (before + found / rank) / 2
    return total / num_relevant


def precision_at_recall(pairs: Sequence[Pair], num_relevant: int, ties: str) -> list[float]:
    """Highest precision at a recall of i/20 or more, i = 0 ... 20."""
    sign = {"stable": 0, "group": 0, "best": -1, "worst": 1}[ties]
    ranked = sorted(pairs, key=lambda pair: (-pair[0], sign * pair[1]))
    points = []
    for rank, (score, is_relevant) in enumerate(ranked, start=1):
        kept = [pair for pair in ranked if pair[0] >= score] if ties == "group" else ranked[:rank]
        if is_relevant:
            found = sum(relevant for _, relevant in kept)
            points.append((found, found / len(kept)))
    return [max((p for found, p in points if found * 20 >= i * num_relevant), default=0.0) for i in range(21)]
