"""Everything that a run of S2VS depends on: a TOML file, with the values of the paper where it says nothing.

    [data]
    frames = ["frames"]                # folders of <video>/00000.jpg ...
    [training]
    batch = 32

A table is a class below, a key one of its attributes. Source: S2VS (CVPRW 2023), options of its code (specification,
sections 4 and 9).
"""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from visil.errors import DataError
from visil.model.binarization import BITS_PER_BYTE
from visil.model.network import NetworkSettings
from visil.s2vs.cells import Lengths
from visil.s2vs.clip_views import ClipViews, GlobalTransforms, PictureCrop, StrongView, WeakView
from visil.s2vs.frame_transforms import Blur, EmojiOverlay, FrameTransforms, TextOverlay
from visil.s2vs.schedule import CosineSchedule
from visil.s2vs.shared_furniture import SharedFurniture
from visil.s2vs.temporal import FastForward, OneOf, Pause, Reverse, ShuffleDropout, SlowMotion, TemporalTransformation
from visil.s2vs.video_in_video import VideoInVideo

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

GROUPS = ("global", "frame", "temporal", "video-in-video")
LOSSES = ("s2vs", "triplet")
TEMPORAL = ("shuffle_dropout", "fast_forward", "slow_motion", "reverse", "pause")
CHANCES = (*TEMPORAL, "text", "emoji", "blur", "shuffle", "dropout", "removal", "mixing", "short_share", "furniture")


@dataclass(frozen=True)
class Data:
    """What is trained on.

    Attributes:
        frames: folders of frames, see `clips.find_clips`.
        videos: files and folders of videos; their frames are extracted once.
        cache: folder for those frames; empty: in that of the run.
        validation_frames: the same, of other videos; none: nothing is validated.
        truths, validation_truths: folders of the truths of montages (`<video>.json`), which say who is related; empty:
            no two clips are.
        screening: score from which two clips may show the same, found by a search of all; 0: not looked for.
    """

    frames: tuple[str, ...] = ()
    videos: tuple[str, ...] = ()
    cache: str = ""
    validation_frames: tuple[str, ...] = ()
    truths: str = ""
    validation_truths: str = ""
    screening: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.screening <= 1:
            raise ValueError(f"screening must be a score from 0 to 1, got {self.screening}")


@dataclass(frozen=True)
class ViewsSettings:
    """How views are made.

    Attributes:
        length: frames of a view.
        window: frames of a clip that both views are cut from.
        repeats: clips of fewer frames than a view are repeated; otherwise their views are shorter.
        groups: of augmentations, of the strong view.
        operations, magnitude: of RandAugment.
        text, emoji, blur: chances, of every frame.
        shuffle_dropout, fast_forward, slow_motion, reverse, pause: chances, of which one is taken.
        shuffle, dropout, removal: of temporal shuffle-dropout.
        mixing: chance of a clip to lie in another one.
        shares: of the host that stays to see.
        weak_area, strong_area: of the picture, that is cut out.
        short_share, shortest: see `cells.Lengths` (beyond the paper).
        furniture: chance of a view to have what others of its cell have too, see `shared_furniture` (beyond the paper).
    """

    length: int = 32
    window: int = 64
    repeats: bool = True
    groups: tuple[str, ...] = GROUPS
    operations: int = 2
    magnitude: int = 9
    text: float = 0.3
    emoji: float = 0.3
    blur: float = 0.5
    shuffle_dropout: float = 0.5
    fast_forward: float = 0.1
    slow_motion: float = 0.1
    reverse: float = 0.1
    pause: float = 0.1
    shuffle: float = 0.5
    dropout: float = 0.3
    removal: float = 0.5
    mixing: float = 0.3
    shares: tuple[float, float] = (0.3, 0.7)
    weak_area: tuple[float, float] = (0.8, 1.0)
    strong_area: tuple[float, float] = (0.5, 1.0)
    short_share: float = 0.0
    shortest: int = 4
    furniture: float = 0.0

    def __post_init__(self) -> None:
        unknown = [group for group in self.groups if group not in GROUPS]
        if unknown:
            raise ValueError(f"groups are {', '.join(GROUPS)}, got {unknown[0]!r}")
        chances = {name: getattr(self, name) for name in CHANCES}
        wrong = [f"{name} {value}" for name, value in chances.items() if not 0 <= value <= 1]
        if wrong or sum(chances[name] for name in TEMPORAL) > 1 + 1e-9:
            raise ValueError(
                f"chances lie between 0 and 1, those of {', '.join(TEMPORAL)} together: {wrong or 'too much'}"
            )
        for name, (low, high) in (("weak_area", self.weak_area), ("strong_area", self.strong_area)):
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must be two shares above 0, the larger one last, got {[low, high]}")
        if not 0 <= self.shares[0] <= self.shares[1] < 1:
            raise ValueError(f"shares must be two from 0 to below 1, the larger one last, got {[*self.shares]}")
        if not (0 <= self.magnitude <= 30 and self.operations >= 0):
            raise ValueError(
                f"magnitude must lie between 0 and 30, operations at least 0, got {self.magnitude}, {self.operations}"
            )
        if not 1 <= self.shortest <= self.length:
            raise ValueError(f"shortest must lie between 1 and length, got {self.shortest}")
        if not 1 <= self.length <= self.window:
            raise ValueError(f"length must lie between 1 and window, got {self.length} and {self.window}")

    def of_side(self, side_px: int) -> ClipViews:
        """The views, pictures of this many pixels a side."""
        furniture = SharedFurniture(self.furniture) if self.furniture else None
        return ClipViews(self.weak(side_px), self.strong(side_px), self.window, furniture)

    def weak(self, side_px: int) -> WeakView:
        """The weak view."""
        return WeakView(self.length, side_px, PictureCrop(self.weak_area), self.repeats)

    def strong(self, side_px: int) -> StrongView:
        """The strong view."""
        shuffling = ShuffleDropout(shuffle=self.shuffle, dropout=self.dropout, removal=self.removal)
        chances: dict[TemporalTransformation, float] = {
            shuffling: self.shuffle_dropout,
            FastForward(): self.fast_forward,
            SlowMotion(): self.slow_motion,
            Reverse(): self.reverse,
            Pause(max(1, self.length // 4)): self.pause,
        }
        overlays = (TextOverlay(self.text), EmojiOverlay(self.emoji), Blur(self.blur))
        return StrongView(
            self.length,
            side_px,
            PictureCrop(self.strong_area),
            OneOf(chances) if "temporal" in self.groups else None,
            GlobalTransforms(self.operations, self.magnitude) if "global" in self.groups else None,
            FrameTransforms(tuple(step for step in overlays if step.chance)) if "frame" in self.groups else None,
            VideoInVideo(self.mixing, self.shares) if "video-in-video" in self.groups else None,
            self.repeats,
        )

    def lengths(self) -> Lengths:
        """How views are cut short."""
        return Lengths(self.short_share, self.shortest)


@dataclass(frozen=True)
class LossSettings:
    """What is minimised: InfoNCE + sshn · (hardest negative + self) + regularisation · penalty; or triplets + penalty.

    Attributes:
        kind: `s2vs`, or `triplet` as of ViSiL.
        temperature: of InfoNCE.
        sshn: weight of SSHN.
        regularisation: weight of the penalty, which is a sum over all pairs and cells.
        margin: of triplets.
    """

    kind: str = "s2vs"
    temperature: float = 0.03
    sshn: float = 3.0
    regularisation: float = 1.0
    margin: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in LOSSES:
            raise ValueError(f"kind of a loss must be one of {', '.join(LOSSES)}, got {self.kind!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be more than 0, got {self.temperature}")
        if not min(self.sshn, self.regularisation, self.margin) >= 0:
            raise ValueError("sshn, regularisation and margin must be 0 or more")


@dataclass(frozen=True)
class TrainingSettings:
    """How it runs.

    Attributes:
        batch: clips of a batch and process; each has two views.
        cell: clips whose views are made together; see `cells`.
        rounds: of views that a bank keeps; 0: views are made anew all the time (published).
        bank: folder of it, which runs of the same clips and views can share; empty: in that of the run.
        hard_share: of the places of a cell, that go to clips which look like its first one (beyond the paper).
        accumulation: batches of a step.
        precision: of the products and the comparator: `fp32`, `bf16` or `fp16`.
        validation_steps: between two validations.
    """

    batch: int = 64
    cell: int = 64
    rounds: int = 0
    bank: str = ""
    hard_share: float = 0.0
    seed: int = 0
    weight_decay: float = 0.01
    accumulation: int = 1
    precision: str = "fp32"
    log_steps: int = 100
    checkpoint_steps: int = 500
    validation_steps: int = 1000

    def __post_init__(self) -> None:
        least = {"batch": 1, "cell": 1, "rounds": 0, "seed": 0, "weight_decay": 0, "accumulation": 1}
        least |= dict.fromkeys(("log_steps", "checkpoint_steps", "validation_steps"), 1)
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be {low} or more, got {getattr(self, name)}")
        if not 0 <= self.hard_share <= 1:
            raise ValueError(f"hard_share must lie between 0 and 1, got {self.hard_share}")
        if self.seed >= 2**31:
            raise ValueError(f"seed must be below 2^31, got {self.seed}")
        if self.batch % self.cell:
            raise ValueError(f"batch must be a multiple of cell, got {self.batch} and {self.cell}")
        if self.precision not in ("fp32", "bf16", "fp16"):
            raise ValueError(f"precision must be fp32, bf16 or fp16, got {self.precision!r}")


@dataclass(frozen=True)
class S2VSSettings:
    """A run.

    Attributes:
        bundle: whose region vectors are trained on: a name or a file.
        network: what is trained on top of them.
    """

    bundle: str = "mini"
    data: Data = field(default_factory=Data)
    network: NetworkSettings = field(
        default_factory=lambda: NetworkSettings(attention="sigmoid", comparator_padding="zeros")
    )
    views: ViewsSettings = field(default_factory=ViewsSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    schedule: CosineSchedule = field(default_factory=CosineSchedule)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        network = self.network
        if network.bits is not None and network.bits % BITS_PER_BYTE:
            raise ValueError(f"network.bits must be a multiple of 8, got {network.bits}")
        if network.attention is None and network.bits is None and network.comparator_padding is None:
            raise ValueError("a network without attention, bits and comparator has nothing to train")


def read_settings(file: Path, changes: Sequence[str] = ()) -> S2VSSettings:
    """Settings of a TOML file; relative folders are below that of the file.

    Args:
        changes: `table.key=value`, the value as in TOML; text needs no quotes.

    Raises:
        DataError: the file cannot be read, a key is unknown, a value is of another kind or out of range.
    """
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file}: no readable settings ({error})") from error
    for change in changes:
        _apply(entries, change)
    return parsed(S2VSSettings(), entries, str(file))


def placed(base: Path, path: str) -> Path:
    """A path of the settings: `~` is the user's folder, a relative one is below that of the file."""
    try:
        return base / Path(path).expanduser()
    except RuntimeError as error:  # no such user
        raise DataError(f"{path}: no such folder ({error})") from error


def parsed(base: Settings, entries: Mapping[str, Any], where: str, table: str = "") -> Settings:
    """Settings with the values of a table of TOML in the place of some, see `read_settings`."""
    known = [entry.name for entry in fields(base)]
    hints = typing.get_type_hints(type(base))
    values = {}
    for name, value in entries.items():
        full = f"{table}.{name}".lstrip(".")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = (
                f"; did you mean {table + '.' if table else ''}{near[0]}?"
                if near
                else f"; known are {', '.join(known)}"
            )
            raise DataError(f"{where}: there is no setting {full}{meant}")
        hint = hints[name]
        if is_dataclass(hint):
            if not isinstance(value, dict):
                raise DataError(f"{where}: {full} is a table, [{full}], got {value!r}")
            values[name] = parsed(getattr(base, name), value, where, full)
        else:
            values[name] = _converted(value, hint, f"{where}: {full}")
    try:
        return replace(base, **values)
    except ValueError as error:
        raise DataError(f"{where}: {f'[{table}] ' if table else ''}{error}") from error


def _converted(value: Any, hint: Any, what: str) -> Any:
    """A value of TOML as an attribute of this type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value in ("none", "") else _converted(value, arguments[0], what)
    if origin is tuple:
        if not isinstance(value, list):
            raise DataError(f"{what} is a list, got {value!r}")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise DataError(f"{what} is a list of {len(kinds)}, got {value!r}")
        return tuple(_converted(item, kind, what) for item, kind in zip(value, kinds, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise DataError(f"{what} is {words[hint]}, got {value!r}")
    return value


def _apply(entries: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    if not equals or not name.strip():
        raise DataError(f"--set {change}: expected table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *tables, key = (part.strip() for part in name.split("."))
    for table in tables:
        entries = entries.setdefault(table, {})
        if not isinstance(entries, dict):
            raise DataError(f"--set {change}: {table} is no table")
    entries[key] = value
