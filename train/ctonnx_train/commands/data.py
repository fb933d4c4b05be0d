"""`ctonnx data`: make data sets."""

from pathlib import Path

import click

__all__ = ["data", "phantom"]


@click.group()
def data() -> None:
    """Make data sets."""


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

    from ctonnx_train.phantom import generate

    with tqdm(desc="drawing phantoms", unit="image", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        made = generate(out, per_class=per_class, seed=seed, size=size, progress=progress)
    click.echo(f"{made.images} synthetic phantoms in {made.folder}: next, ctonnx train {made.folder} --weights none")
