"""`visil models`: bundles."""

from __future__ import annotations

from pathlib import Path

import click

from visil.cli.options import format_option
from visil.cli.output import chosen_format, notice, print_rows


@click.group("models")
def command() -> None:
    """List, inspect and convert bundles (a bundle is everything a model is, in one file)."""


@command.command("list")
@format_option
def list_models(output_format: str | None) -> int:
    """List the bundles that can be named: those of the package and those in the cache folder.

    \b
    Example:
      visil models list
    """
    from visil.errors import ModelError
    from visil.model.bundle import read_settings
    from visil.model.catalogue import named_bundles

    rows = []
    for name, path in named_bundles().items():
        try:
            settings = read_settings(path)
            rows.append(
                {"name": name, "backbone": settings.backbone.name, "licence": settings.licence, "path": str(path)}
            )
        except ModelError as error:
            notice(f"{error}; left out")
    print_rows(rows, chosen_format(output_format), ["name", "backbone", "licence", "path"])
    return 0


@command.command("show")
@click.argument("name", metavar="NAME|FILE")
@click.option("--check", is_flag=True, help="Encode the bundle's fixed picture here and compare.")
@format_option
def show(name: str, check: bool, output_format: str | None) -> int:
    """Show the settings of a bundle.

    \b
    Example:
      visil models show mini --check

    Exit status: 0; 2 no such bundle, a damaged one, or --check found other vectors than the bundle's.
    """
    import json

    from visil.model.model import CHECK_TOLERANCE, load_model

    model = load_model(name, device="cpu")
    facts = {"hash": model.bundle.hash, "dim": model.dim, **model.settings.as_json()}
    style = chosen_format(output_format)
    if style in ("table", "csv"):
        flat = [{"setting": k, "value": v if isinstance(v, str) else json.dumps(v)} for k, v in facts.items()]
        print_rows(flat, style, ["setting", "value"])
    else:
        print_rows([facts], style, list(facts))
    if check:
        difference = model.check()
        verdict = "the same" if difference <= CHECK_TOLERANCE else "NOT the same"
        notice(f"fixed picture: {verdict} vectors, largest difference {difference:.1e} (allowed {CHECK_TOLERANCE:.0e})")
        return 0 if difference <= CHECK_TOLERANCE else 2
    return 0


@command.command("convert")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Bundle to write.")
@click.option("--whitening", type=click.Path(path_type=Path), metavar="FILE", help="The authors' pca_*.pth file.")
@click.option(
    "--backbone",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="ResNet-50 weights (safetensors or .pth).  [default: timm's download of torchvision's v1 weights]",
)
def convert(file: Path, output: Path, whitening: Path | None, backbone: Path | None) -> int:
    """Convert a weight file published by the authors of ViSiL, DnS, S2VS or SSCD into a bundle.

    The file is read with torch's weights-only loader: no code in it runs. TensorFlow checkpoints and I3D are not
    supported.

    \b
    Examples:
      visil models convert visil.pth --whitening pca_resnet50_vcdb_1M.pth -o visil.safetensors
      visil models convert s2vs_dns.pth --whitening pca_resnet50_vcdb_1M.pth -o s2vs.safetensors
      visil models convert sscd_disc_mixup.torchvision.pt -o sscd.safetensors

    Exit status: 0 written; 2 not a file we know, unsafe, or weights are missing.
    """
    from visil.model.convert import convert_published

    bundle = convert_published(file, whitening_file=whitening, backbone_file=backbone)
    bundle.save(output)
    notice(f"{output}: bundle {bundle.settings.name!r}, {bundle.hash[:12]}")
    return 0
