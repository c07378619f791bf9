"""A contact sheet of training views: look at it whenever what `visil.s2vs.backbone.views` draws changes.

    python scripts/draw_views.py pictures.safetensors --seed 0 --out views.png
    python scripts/draw_views.py pictures.safetensors --only rotation

A row is a picture of the packed file: its target view, then queries, drawn as at the end of a plain training run.
`--only` leaves one kind of edit, from mild to strong.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

import matplotlib.image
import torch

from visil.errors import VisilError
from visil.s2vs.backbone.pictures import PackedPictures
from visil.s2vs.backbone.training_settings import TrainingSettings
from visil.s2vs.backbone.views import ViewSettings, draw_views

GAP_PX = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, help="packed pictures and stickers")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--queries", type=int, default=10, help="in a row")
    parser.add_argument("--side", type=int, default=128, help="of a view, pixels")
    parser.add_argument("--only", help="kind of edit, as in `crop_weight` of the settings: crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("views.png"))
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(args.seed)
    packed = PackedPictures.read(args.pictures)
    batch = packed.batch(torch.randint(len(packed), (args.rows,), generator=generator))
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(args.rows, 1)
    boxes[1::2] = torch.tensor([0.1, 0.2, 0.7, 0.7])
    settings = _only(args.only) if args.only else TrainingSettings().views[-1][1]
    columns = []
    for _ in range(args.queries):
        views = draw_views(batch, boxes, packed.stickers, args.side, generator, settings)
        columns += [views.query] if columns else [views.target, views.query]
    sheet = torch.nn.functional.pad(torch.stack(columns, dim=1), (GAP_PX,) * 4, value=0.5)  # [rows, columns, 3, h, w]
    rows, num, _, height, width = sheet.shape
    sheet = sheet.permute(0, 3, 1, 4, 2).reshape(rows * height, num * width, 3)
    matplotlib.image.imsave(args.out, (sheet * 255).round().byte().numpy())
    print(f"{args.out}: {rows} pictures; columns: target, {num - 1} queries")


def _only(kind: str) -> ViewSettings:
    names = [field.name for field in fields(ViewSettings) if field.name.endswith("_weight")]
    if f"{kind}_weight" not in names:
        raise SystemExit(f"no edit {kind!r}; there are {', '.join(name.removesuffix('_weight') for name in names)}")
    others = dict.fromkeys(names, 0.0)
    return replace(ViewSettings(), num_edits=(0.0, 1.0), around=0.0, **{**others, f"{kind}_weight": 1.0})


if __name__ == "__main__":
    try:
        main()
    except VisilError as error:
        raise SystemExit(f"draw_views: {error}") from error
