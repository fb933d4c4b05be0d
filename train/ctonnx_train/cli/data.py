"""`ctonnx data`: generate and audit datasets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctonnx.images.preprocessing import Color, Crop, Intensity, Preprocessing, Resize
from ctonnx_train.cli.options import (
    class_name_option,
    dataset_folder,
    labels_option,
    log,
    preprocessing_options,
    reject_preprocessing,
)

if TYPE_CHECKING:
    from ctonnx_train.data.phantom.patient_set import PhantomFormat

__all__ = ["audit", "data", "phantom"]


@click.group()
def data() -> None:
    """Generate and audit datasets."""


@data.command(context_settings={"show_default": True})
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path), required=False)
@click.option(
    "--near-distance",
    type=click.IntRange(0, 64),
    default=16,
    help="Maximum number of bits of 256 by which the perceptual hashes of near duplicates differ.",
)
@click.option(
    "--group-regex",
    metavar="REGEX",
    help="Regular expression for an image's patient, or another group, in its path; lists groups in several splits.",
)
@labels_option
@class_name_option
@click.option(
    "--as-seen",
    is_flag=True,
    help="Test the network's input for shortcuts, not the files: after the preprocessing of the options below.",
)
@preprocessing_options
@click.option("--all", "show_all", is_flag=True, help="List every group of copies.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.pass_context
def audit(
    ctx: click.Context,
    /,
    folder: Path | None,
    near_distance: int,
    group_regex: str | None,
    labels: Path | None,
    class_names: dict[str, str],
    as_seen: bool,
    image_size: int,
    color: Color,
    crop: Crop,
    resize: Resize,
    intensity: Intensity,
    show_all: bool,
    as_json: bool,
) -> None:
    """Find unreadable images, copies across splits or labels, and shortcuts.

    DIR has the same layout as for train, or is a MedMNIST .npz file; --labels describes it as for train. Exact
    duplicates have identical pixels after decoding, whatever the file format. Near duplicates have similar perceptual
    hashes: the same scan scaled, compressed again or annotated.

    A shortcut is a fact other than the anatomy that predicts the class: an image's size, its file, grey values near the
    border, marks such as letters, and of DICOM files the scanner. A small model is cross-validated on these facts
    alone; its AUROC for a class is near 0.5 if there is none.

    Patients come from the same sources as for train. A patient in several splits leaks; one in several classes is
    listed only.

    The exit code is 1 if duplicates or a patient are in two splits, if a file cannot be read, or if a
    class has a strong shortcut.

    \b
    Examples:
      ctonnx data audit chest-ct
      ctonnx data audit --labels export/labels.csv
      ctonnx data audit chest-ct --as-seen --crop body --resize pad
    """
    from tqdm import tqdm

    from ctonnx_train.audit.audit import audit_data
    from ctonnx_train.audit.report import format_audit
    from ctonnx_train.data.image_folder import read_data

    if not as_seen:
        reject_preprocessing(ctx, "--as-seen")
    found = read_data(dataset_folder(folder, labels), class_names=class_names, labels=labels)
    preprocessing = Preprocessing(size=image_size, color=color, crop=crop, resize=resize, intensity=intensity)
    with tqdm(total=len(found.samples), desc="reading images", unit="image", leave=False, disable=None) as bar:
        result = audit_data(
            found,
            near_distance=near_distance,
            group_regex=group_regex,
            log=log,
            as_seen=preprocessing if as_seen else None,
            progress=bar.update,
        )
    if as_json:
        click.echo(json.dumps(result.as_dict(), indent=2, ensure_ascii=False))
    else:
        click.echo(format_audit(result, show_all=show_all))
    if result.splits_leak or result.unreadable or result.shortcuts["verdict"] == "strong":
        ctx.exit(1)


@data.command(context_settings={"show_default": True})
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-class", type=click.IntRange(3), default=60, help="Number of images per class, over all splits.")
@click.option("--patients", type=click.IntRange(4), help="Number of patients: draw several slices of each instead.")
@click.option("--slices", type=click.IntRange(2, 2000), default=8, help="Number of slices per patient.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["png", "dicom"]),
    default="png",
    help="Format of patients' images; dicom needs the extra dicom.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Random seed; the same seed gives the same files.")
@click.option("--size", type=click.IntRange(64, 4096), default=512, help="Height and width of the images, in pixels.")
@click.pass_context
def phantom(
    ctx: click.Context,
    /,
    out: Path,
    per_class: int,
    patients: int | None,
    slices: int,
    image_format: "PhantomFormat",
    seed: int,
    size: int,
) -> None:
    """Generate labelled synthetic chest-CT phantoms in OUT.

    The dataset has four classes (normal, small peripheral, large central, cavitating) in train, valid and test folders,
    with the layout and names of the public Kaggle chest-CT dataset. The images are drawn by a program, show no patient
    and have no clinical meaning.

    With --patients, each patient has an anatomy, a scanner and a noise of its own, and a lesion in some of its slices
    only. PNG images are in class folders, DICOM images in folders of patients, studies and series, as a hospital
    exports them; labels.csv has a row for each slice. The dataset is not split: split it by patients.

    \b
    Examples:
      ctonnx data phantom phantoms --per-class 60
      ctonnx data phantom patients --patients 40 --slices 8
      ctonnx data phantom hospital --patients 40 --slices 8 --format dicom
    """
    from tqdm import tqdm

    from ctonnx.system.temporary_files import remove_leftovers

    _reject_other_kind(ctx, patients)
    remove_leftovers([out.resolve().parent], log)
    with tqdm(desc="drawing phantoms", unit="image", leave=False, disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        if patients is None:
            from ctonnx_train.data.phantom.phantom_set import generate

            made = generate(out, per_class=per_class, seed=seed, size=size, progress=progress)
            drawn, dataset = f"{made.images} synthetic phantoms in {made.folder}", f"{made.folder}"
        else:
            from ctonnx_train.data.phantom.patient_set import LABELS, generate_patients

            found = generate_patients(
                out,
                patients=patients,
                slices=slices,
                image_format=image_format,
                seed=seed,
                size=size,
                progress=progress,
            )
            drawn = f"{found.images} synthetic phantoms of {patients} patients in {found.folder}"
            dataset = f"--labels {found.folder / LABELS}"
    click.echo(f"{drawn}: next, ctonnx train {dataset} --weights none")


def _reject_other_kind(ctx: click.Context, patients: int | None) -> None:
    """Raises UsageError if an option is given that is only for sets with patients, or only for sets without them."""
    for name, option in (("per_class", "--per-class"), ("slices", "--slices"), ("image_format", "--format")):
        is_given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
        if is_given and name == "per_class" and patients is not None:
            raise click.UsageError("expected --per-class or --patients, found both; leave one out", ctx)
        if is_given and name != "per_class" and patients is None:
            raise click.UsageError(f"expected {option} together with --patients, found it alone", ctx)
