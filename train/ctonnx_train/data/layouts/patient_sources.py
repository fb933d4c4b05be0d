"""Finds the patients of a dataset's images.

The first of these that names a patient is used: the column `patient` of the labels file, `--group-regex`, DICOM
headers. Subgroups come from the labels file and from DICOM headers; the labels file's have priority.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from ctonnx.errors import DataError
from ctonnx.images.formats import may_have_frames
from ctonnx.prediction.series.pseudonyms import Pseudonyms
from ctonnx.prediction.series.slices import record_of
from ctonnx.system.text import Log, counted
from ctonnx_train.data.dataset import Dataset
from ctonnx_train.data.leakage import group_names
from ctonnx_train.data.patients import Patients, age_band, source_in_words
from ctonnx_train.data.splits import Sample

__all__ = ["find_patients", "read_headers"]


def find_patients(data: Dataset, samples: Sequence[Sample], group_regex: str | None, log: Log) -> Patients | None:
    """Returns the patients of samples, and logs where they come from; None if no source names one.

    Args:
        data: Dataset of the samples; its `pseudonyms` name all identifiers of headers.
        samples: Samples whose patients are wanted.
        group_regex: Regular expression for the group of an image in its path; see
            `ctonnx_train.data.leakage.group_names`. It replaces the patients of DICOM headers, not those of a labels
            file.
        log: Called with a line about the source.

    Raises:
        DataError: The expression is invalid or matches no path, or there is a labels file with patients, too.
    """
    labelled = data.labelled_patients
    if labelled is not None and labelled.names and group_regex is not None:
        raise DataError(
            f"expected patients from one source, found the column 'patient' in '{data.labels_file}' and --group-regex; "
            "leave out --group-regex, or remove the column"
        )
    by_path = group_names(samples, group_regex)
    headers = None if data.root.is_file() else read_headers(data.root, samples, data.pseudonyms, log)
    subgroups = {**(headers.subgroups if headers else {}), **(labelled.subgroups if labelled else {})}
    if labelled is not None and labelled.names:
        found = Patients(
            origin="labels file",
            names=labelled.names,
            studies=_with_headers(labelled.studies, headers.studies if headers else {}, labelled.names.get),
            series=_with_headers(
                labelled.series,
                headers.series if headers else {},
                lambda path: (labelled.names.get(path), labelled.studies.get(path)),
            ),
            subgroups=subgroups,
            slices=headers.slices if headers else {},
        )
    elif by_path:
        found = Patients(
            origin="--group-regex",
            names=by_path,
            studies=headers.studies if headers else {},
            series=headers.series if headers else {},
            subgroups=subgroups,
            slices=headers.slices if headers else {},
        )
    elif headers is not None and headers.names:
        found = Patients(
            origin="DICOM headers",
            names=headers.names,
            studies=headers.studies,
            series=headers.series,
            subgroups=subgroups,
            slices=headers.slices,
        )
    else:
        return None
    known = [found.names[path] for path, _ in samples if path in found.names]
    images = f"{len(known)} of {len(samples)} images" if len(known) < len(samples) else counted(len(samples), "image")
    more = f"; subgroups: {', '.join(sorted(found.subgroups))}" if found.subgroups else ""
    log(f"patients: {len(set(known))} from {source_in_words(found.origin)} (of {images}){more}")
    return found


def _with_headers(
    labelled: Mapping[str, str], headers: Mapping[str, str], unit_of: Callable[[str], object]
) -> dict[str, str]:
    """Returns the studies or series of a labels file, and the headers' of units that have none in the file.

    `unit_of` returns the patient of an image, or its patient and study. Values of the two sources in one unit would be
    rivals.
    """
    known = set(map(unit_of, labelled))
    return {**{path: value for path, value in headers.items() if unit_of(path) not in known}, **labelled}


def read_headers(root: Path, samples: Sequence[Sample], pseudonyms: Pseudonyms, log: Log) -> Patients | None:
    """Returns the patients and subgroups in the headers of DICOM files; None if no file is DICOM.

    An image without a Patient ID belongs to its study. If all images have one Patient ID, as after some
    anonymizations, their studies stand for the patients; of a single study no patient is known.

    Args:
        root: Folder that the samples' paths are relative to.
        samples: Samples of any format; a file whose name ends as that of another format is not opened.
        pseudonyms: Pseudonyms of the identifiers.
        log: Called with a line if the Patient IDs cannot be used.
    """
    files = [path for path, _ in samples if may_have_frames(path)]
    if not files:
        return None
    try:
        from ctonnx.images.dicom.identity import Identity, read_identity
    except ImportError:  # decoding such a file names the package that is missing
        return None
    identities: dict[str, Identity] = {}
    for path in tqdm(files, desc="reading headers", unit="file", leave=False, disable=None):
        if identity := read_identity(root / path, pseudonyms.of):
            identities[path] = identity
    if not identities:
        return None

    def each(value: Callable[[Identity], str]) -> dict[str, str]:
        return {path: found for path, identity in identities.items() if (found := value(identity))}

    names = each(lambda identity: identity.patient or identity.study)
    studies = each(lambda identity: identity.study)
    if len(identities) > 1 and len(set(names.values())) == 1:
        several = len(set(studies.values())) > 1
        log(
            f"note: one Patient ID in all {len(identities)} DICOM headers, as after anonymization: "
            + ("studies are used as patients" if several else "patients are unknown; name them with --labels")
        )
        names = studies if several else {}
    subgroups = {
        "sex": each(lambda identity: identity.sex),
        "age": each(lambda identity: "" if identity.age is None else age_band(identity.age)),
        "manufacturer": each(lambda identity: identity.manufacturer.upper()),
        "slice thickness": each(lambda identity: _thickness(identity.thickness)),
        "kernel": each(lambda identity: identity.kernel),
    }
    return Patients(
        origin="DICOM headers",
        names=names,
        studies=studies,
        series=each(lambda identity: identity.series),
        subgroups=_varied(subgroups),
        slices={path: record_of(path, identity) for path, identity in identities.items()},
    )


def _thickness(millimetres: float | None) -> str:
    return f"{round(millimetres, 1):g} mm" if millimetres is not None and millimetres > 0 else ""


def _varied(subgroups: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """Returns the subgroups with two values or more: others distinguish no images."""
    return {name: values for name, values in subgroups.items() if len(set(values.values())) > 1}
