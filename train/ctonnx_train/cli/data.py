"""`ctonnx data`: make data sets, and look into them."""

import json
from pathlib import Path

import click

from ctonnx_train.cli.options import class_name_option

__all__ = ["audit", "data", "phantom"]


@click.group()
def data() -> None:
    """Make data sets, and look into them."""


@data.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--near-distance",
    type=click.IntRange(0, 64),
    default=16,
    show_default=True,
    help="Bits of 256 in which the perceptual hashes of near duplicates differ, at most.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="What names an image's group in its path, such as the patient: lists the groups that are in several splits.",
)
@class_name_option
@click.option("--all", "show_all", is_flag=True, help="List every group of copies.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
def audit(
    folder: Path,
    near_distance: int,
    group_regex: str | None,
    class_names: dict[str, str],
    show_all: bool,
    as_json: bool,
) -> None:
    """Find unreadable images, copies, and copies across splits or labels.

    DIR is laid out as for train, or is a MedMNIST .npz file. Exact duplicates have identical pixels after decoding,
    whatever the file format; near duplicates have similar perceptual hashes: the same scan scaled, compressed anew or
    drawn upon. The exit code is 1 where either, or a group by --group-regex, stands in two splits, or a file cannot be
    read.

    \b
    Example:
      ctonnx data audit chest-ct
    """
    from tqdm import tqdm

    from ctonnx_train.audit.audit import audit_data
    from ctonnx_train.audit.report import format_audit
    from ctonnx_train.data.image_folder import read_data

    found = read_data(folder, class_names=class_names)
    with tqdm(total=len(found.samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        result = audit_data(found, near_distance=near_distance, group_regex=group_regex, progress=bar.update)
    if as_json:
        click.echo(json.dumps(result.as_dict(), indent=2, ensure_ascii=False))
    else:
        click.echo(format_audit(result, show_all=show_all))
    if result.splits_leak or result.unreadable:
        click.get_current_context().exit(1)


@data.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-class", type=click.IntRange(3), default=60, show_default=True, help="Images of each class in all.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed makes the same files."
)
@click.option(
    "--size", type=click.IntRange(64, 4096), default=512, show_default=True, help="Height and width in pixels."
)
def phantom(out: Path, per_class: int, seed: int, size: int) -> None:
    """Make a labelled set of synthetic chest-CT phantoms in OUT.

    Four classes (normal, small peripheral, large central, cavitating) in train, valid and test folders, laid out and
    named as the public Kaggle chest-CT set is. The images are drawn by a program: they show no patient and have no
    clinical meaning.

    \b
    Example:
      ctonnx data phantom phantoms --per-class 60
    """
    from tqdm import tqdm

    from ctonnx.system.temporary_files import remove_leftovers
    from ctonnx_train.data.phantom.phantom_set import generate

    remove_leftovers([out.resolve().parent], lambda line: click.echo(line, err=True))
    with tqdm(desc="drawing phantoms", unit="image", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = generate(out, per_class=per_class, seed=seed, size=size, progress=progress)
    click.echo(f"{made.images} synthetic phantoms in {made.folder}: next, ctonnx train {made.folder} --weights none")
