"""`visil demo`: sample videos -> library -> search -> table with the truth beside it."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import compute_options, quiet_option
from visil.cli.output import notice, print_table


@click.command("demo")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Other seeds, other videos.")
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Leave videos and library in this new folder.",
)
@compute_options
@quiet_option
def command(seed: int, keep: Path | None, device: str, precision: str, quiet: bool) -> int:
    """Make sample videos, edit some, index, search, and show what was found beside the truth.

    A dozen made-up scenes become a library, with look-alikes (other scenes in the same style) among them. Every query
    is an edited copy of a scene. `margin` is the score of the worst related video minus that of the best other one,
    look-alikes included: above 0 the edit is found before everything else.

    \b
    Example:
      visil demo --keep demo && visil search demo/queries --library demo/index

    Exit status: 0 every edit ranks above every other scene; 1 one does not.
    """
    import tempfile

    from visil.demo import run_demo
    from visil.model.model import load_model

    model = load_model(device=device, precision=precision)
    if keep is not None:
        if keep.exists():
            raise click.UsageError(f"{keep} exists; choose a new folder for --keep")
        keep.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="visil-demo-") as temporary:
        folder = keep or Path(temporary)
        notice(f"making videos, indexing and searching in {folder}", quiet=quiet)
        findings = run_demo(folder, model, seed=seed)
    rows = [
        [
            "query",
            "first match",
            "score",
            "truth",
            "times in the match",
            "best unrelated",
            "look-alike",
            "margin",
        ]
    ]
    for found in findings:
        rows.append(
            [
                found.query,
                found.first,
                f"{found.score:.3f}",
                found.relation,
                found.times,
                f"{found.best_unrelated:.3f}",
                "" if found.look_alike is None else f"{found.look_alike:.3f}",
                f"{found.margin:+.3f}",
            ]
        )
    print_table(rows)
    right = sum(found.margin > 0 for found in findings)
    click.echo(f"{right} of {len(findings)} edits rank above every other scene (seed {seed})")
    return 0 if right == len(findings) else 1
