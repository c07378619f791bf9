"""The published methods once more, cell by cell and node by node, as `docs/method.md` words them; slow."""

from collections import defaultdict
from itertools import pairwise

import numpy as np

from visil.align.temporal_network import TemporalNetwork

SOURCE = 0


def plain_network(matrix: np.ndarray, settings: TemporalNetwork) -> list[list[int]]:
    """Boxes of the temporal network with its source and its sink, as a graph of dictionaries."""
    num_rows, num_columns = matrix.shape
    top_k = min(settings.top_k, num_columns)
    top = [sorted(range(num_columns), key=lambda c: (-matrix[row, c], c))[:top_k] for row in range(num_rows)]
    place = {SOURCE: (-1, -1)}
    place |= {1 + row * top_k + rank: (row, column) for row in range(num_rows) for rank, column in enumerate(top[row])}
    sink = num_rows * top_k
    into: dict[int, dict[int, float]] = defaultdict(dict)
    for row in range(num_rows):
        passed: set[int] = set()
        for later in range(row + 1, min(num_rows, row + settings.max_step)):
            reached = set()
            for rank_b, b in enumerate(top[later]):
                for rank_a, a in enumerate(top[row]):
                    is_free = not any(a < x < b for x in passed)
                    if 0 < b - a < settings.max_step and is_free and matrix[later, b] >= np.float32(settings.min_sim):
                        into[1 + later * top_k + rank_b][1 + row * top_k + rank_a] = float(matrix[later, b])
                        reached.add(b)
            passed |= reached
    for node in range(sink if settings.has_sink else 0):
        gaps = [end - start for start, end in zip(place[node], place[sink], strict=True)]
        if all(0 < gap <= settings.max_step for gap in gaps):
            into[sink][node] = 0.0
    order = kahn_order(sink + 1, into)
    found: list[list[int]] = []
    for _ in range(settings.max_path + 1):
        path = plain_longest_path(order, into)
        for before, after in pairwise(path):
            into[after][before] = 0.0
        nodes = [place[node] for node in path if node != SOURCE and not (settings.has_sink and node == sink)]
        if not nodes:
            break
        box = plain_box(matrix, nodes, settings)
        if box and all(plain_iou(box, other) < settings.max_iou for other in found):
            found.append(box)
    return found


def kahn_order(num_nodes: int, into: dict[int, dict[int, float]]) -> list[int]:
    """Nodes without open predecessors, generation by generation."""
    out_of: dict[int, list[int]] = defaultdict(list)
    for node in range(num_nodes):
        for before in into.get(node, {}):
            out_of[before].append(node)
    missing = {node: len(into.get(node, {})) for node in range(num_nodes)}
    generation, order = [node for node in range(num_nodes) if not missing[node]], []
    while generation:
        following = []
        for node in generation:
            for after in out_of[node]:
                missing[after] -= 1
                if not missing[after]:
                    following.append(after)
        order += generation
        generation = following
    return order


def plain_longest_path(order: list[int], into: dict[int, dict[int, float]]) -> list[int]:
    best: dict[int, tuple[float, int]] = {}
    for node in order:
        candidates = [(best[before][0] + weight, before) for before, weight in into.get(node, {}).items()]
        longest = max(candidates, key=lambda candidate: candidate[0]) if candidates else (0.0, node)
        best[node] = longest if longest[0] >= 0 else (0.0, node)
    node = max(order, key=lambda node: best[node][0])
    path = [node]
    while best[node][1] != node:
        node = best[node][1]
        path.append(node)
    return path[::-1]


def plain_box(matrix: np.ndarray, nodes: list[tuple[int, int]], settings: TemporalNetwork) -> list[int] | None:
    rows, columns = zip(*nodes, strict=True)
    score = sum(float(matrix[node]) for node in nodes)
    sides = (max(rows) - min(rows), max(columns) - min(columns))
    length = sum(sides) / 2
    if score <= 0 or length <= 0 or score / length <= settings.min_sim or min(sides) <= settings.min_length:
        return None
    return [min(rows), min(columns), max(rows), max(columns)]


def plain_iou(a: list[int], b: list[int]) -> float:
    def cells(box: list[int]) -> set[tuple[int, int]]:
        return {(row, column) for row in range(box[0], box[2] + 1) for column in range(box[1], box[3] + 1)}

    return len(cells(a) & cells(b)) / len(cells(a) | cells(b))


def plain_chain_sums(matrix: np.ndarray, discontinue: int, min_sim: float) -> tuple[np.ndarray, np.ndarray]:
    """Sums and last steps of the dynamic program, cell by cell in the precision of the matrix."""
    sums, back = matrix.copy(), np.full(matrix.shape, -1, dtype=np.int8)
    unmatched = np.zeros(matrix.shape, dtype=int)
    for i in range(1, matrix.shape[0]):
        for j in range(1, matrix.shape[1]):
            cells = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
            candidates = [sums[cells[0]] + matrix[i, j], *(sums[cell] + matrix[i, j] / 2 for cell in cells[1:])]
            k = int(np.argmax(candidates))
            if matrix[i, j] < min_sim:
                unmatched[i, j] = unmatched[cells[k]] + 1
            if unmatched[i, j] <= discontinue:
                sums[i, j], back[i, j] = candidates[k], k
    return sums, back


def plain_warping_cost(matrix: np.ndarray) -> float:
    """Cost of the cheapest path from corner to corner, by trying all ways back from every cell."""
    total = np.full(matrix.shape, np.inf)
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            before = [total[a, b] for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a >= 0 and b >= 0]
            total[i, j] = 1 - float(matrix[i, j]) + min(before, default=0.0)
    return float(total[-1, -1])
