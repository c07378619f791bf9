"""`visil s2vs`: train a similarity network on videos without labels."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.output import notice


@click.group("s2vs")
def command() -> None:
    """Train attention and comparator on your own videos, without labels (S2VS)."""


@command.command("train")
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG.toml")
@click.option(
    "--out", "-o", "folder", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Folder of the run."
)
@click.option("--set", "changes", multiple=True, metavar="TABLE.KEY=VALUE", help="Another value than in CONFIG.")
@click.option("--max-minutes", type=click.FloatRange(min=0), help="Stop after so long, to go on another time.")
@click.option("--name", default="s2vs", show_default=True, help="Of the bundle.")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N; of torchrun: cpu or cuda."
)
@click.option("--tensorboard", is_flag=True, help="Also write the log for TensorBoard, RUN/tensorboard.")
def train(
    config: Path,
    folder: Path,
    changes: tuple[str, ...],
    max_minutes: float | None,
    name: str,
    device: str,
    tensorboard: bool,
) -> int:
    """Train a similarity network; the same command goes on where it ended.

    CONFIG says which videos or frames, and whatever is to be other than in the paper; docs/train.md lists the keys. RUN
    keeps checkpoints, log.jsonl and, when all steps are done, bundle.safetensors, which `visil index --model` takes.

    \b
    Examples:
      visil s2vs train s2vs.toml --out run
      visil s2vs train s2vs.toml --out run --set training.batch=32 --max-minutes 60
      torchrun --nproc-per-node 2 -m visil s2vs train s2vs.toml --out run --device cuda

    Exit status: 0 done, or stopped by --max-minutes; 1 done, but some clips could not be read; 2 the settings, the
    folder or the data are not right; 130 interrupted after a step, with a checkpoint.
    """
    import logging

    from visil.s2vs.launch import run

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    outcome = run(
        config, folder, changes=changes, max_minutes=max_minutes, name=name, device=device, tensorboard=tensorboard
    )
    if not outcome.is_first:
        return outcome.status
    for clip, reason in outcome.failed.items():
        notice(f"skipped {clip}: {reason}")
    if outcome.bundle is not None:
        notice(f"{outcome.bundle}: trained in {outcome.step} steps")
    else:
        notice(f"{folder}: step {outcome.step} of {outcome.steps}; the same command goes on from there")
    return outcome.status


@command.command("preview")
@click.argument("clip", type=click.Path(path_type=Path), metavar="CLIP")
@click.option(
    "--out", "-o", "page", type=click.Path(path_type=Path), required=True, metavar="FILE.html", help="Page to write."
)
@click.option("--config", type=click.Path(path_type=Path), metavar="CONFIG.toml", help="How views are made.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the views.")
def preview(clip: Path, page: Path, config: Path | None, seed: int) -> int:
    """Show the two views of a clip that training would learn from, as contact sheets on one page.

    CLIP is a video or a folder of frames.

    \b
    Example:
      visil s2vs preview clip.mp4 --out views.html

    Exit status: 0 written; 2 the clip cannot be read, or the page cannot be written.
    """
    from visil.s2vs.preview import write_preview
    from visil.s2vs.settings import S2VSSettings, read_settings

    settings = S2VSSettings() if config is None else read_settings(config)
    write_preview(clip, page, settings, base=Path() if config is None else config.parent, seed=seed)
    notice(f"{page}: both views of {clip}")
    return 0
