"""Common part of all objects of a series: UIDs, patient, study, equipment, date and time."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from highdicom import ContributingEquipment
from highdicom.base import SOPClass
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import AlgorithmIdentification, DeviceObserverIdentifyingAttributes, ObserverContext
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage

from ctonnx import __version__
from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.parity.rounding import exactly
from ctonnx.prediction.results import Prediction
from ctonnx.prediction.series.reduction import GroupPrediction, GroupRule
from ctonnx.server.pacs.results.codes import PRIVATE_SCHEME, ClassCodes
from ctonnx.server.pacs.results.source import MANUFACTURER, SourceImage, SourceSeries
from ctonnx.server.pacs.results.uids import derived_uid
from ctonnx.system.text import escape_control

__all__ = ["CHARACTER_SET", "FormerReport", "ImageResult", "ObjectKind", "ResultModel", "SeriesResult"]

ObjectKind: TypeAlias = Literal["sr", "sc", "ko"]
"""Kind of an object: structured report, Secondary Capture, Key Object Selection."""

_TITLES: dict[ObjectKind, str] = {"sr": "report", "sc": "heatmap", "ko": "key images"}
_FIRST_NUMBER = 90_000  # of a series of results: no scanner counts so far
_PLACES: dict[ObjectKind, int] = {"sr": 1, "sc": 2, "ko": 3}
_MOST_LETTERS = 64  # of a Long String
CHARACTER_SET = "ISO_IR 192"
"""Specific Character Set of results: UTF-8."""

_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_TIMES = ("InstanceCreationDate", "InstanceCreationTime", "DateOfSecondaryCapture", "TimeOfSecondaryCapture")
_OTHERS = ("TimezoneOffsetFromUTC",)


@dataclass(frozen=True, kw_only=True)
class ResultModel:
    """The model that made results.

    Attributes:
        spec: Spec of the model.
        rule: Rule that decides about a series.
        sha256: SHA-256 of the model's file, 64 hexadecimal digits.
        codes: Codes of its classes.
    """

    spec: ModelSpec
    rule: GroupRule
    sha256: str
    codes: ClassCodes

    @property
    def name(self) -> str:
        """Name of the model as a DICOM value of one line."""
        return _line(self.spec.name)

    def algorithm(self, *, complete: bool = True) -> AlgorithmIdentification:
        """Returns the identification of the model by TID 4019; its parameters only if it is complete."""
        if not complete:
            return AlgorithmIdentification(self.name, _version())
        rule, spec = self.rule, self.spec
        scores = {"max": "the most suspicious slice", "mean": "the mean of all slices"}
        parameters = {
            "model_sha256": self.sha256,
            "checkpoint_sha256": spec.checkpoint_sha256,
            "precision": spec.precision,
            "classes": ", ".join(map(escape_control, spec.classes)),
            "suspicious_classes": ", ".join(map(escape_control, rule.point.positive)),
            "operating_point_series": exactly(rule.point.threshold, digits=6, form="f"),
            "score_series": scores.get(rule.aggregate, f"the mean of the {rule.k} most suspicious slices"),
        }
        if spec.operating_point is not None:
            parameters["operating_point_image"] = exactly(spec.operating_point.threshold, digits=6, form="f")
        texts = [f"{name}={value}" for name, value in parameters.items()]
        return AlgorithmIdentification(self.name, _version(), texts, manufacturer=MANUFACTURER)

    def observer(self) -> ObserverContext:
        """Returns the model as the observer of a report."""
        return ObserverContext(
            codes.DCM.Device,
            DeviceObserverIdentifyingAttributes(
                uid=derived_uid("model", self.sha256),
                name=self.name,
                manufacturer_name=MANUFACTURER,
                model_name=f"{MANUFACTURER} {__version__}",
            ),
        )


class ImageResult(NamedTuple):
    """Part of the prediction for an image that a report has: all but its heatmap.

    Attributes:
        source: Path of the file; of one frame of several, it ends in `#1` for the first.
        frame: Index of the frame, from 0; None for a file with one.
        label: The predicted class.
        probability: Its probability, 0 to 1.
        score: Summed probability of the suspicious classes; None if the model has no operating point for images.
        decision: `positive`, `negative` or `refer`; None without an operating point for images.
        reason: Reason for `refer`; else None.
        caution: Warning about the image; else None.
    """

    source: str
    frame: int | None
    label: str
    probability: float
    score: float | None
    decision: DecisionName | None
    reason: str | None
    caution: str | None

    @classmethod
    def of(cls, found: Prediction) -> "ImageResult":
        """Returns the part of a prediction that a report has."""
        return cls(
            found.source,
            found.frame,
            found.label,
            found.probability,
            found.score,
            found.decision,
            found.reason,
            found.caution,
        )


class FormerReport(NamedTuple):
    """Report that another one replaces.

    Attributes:
        series: Its Series Instance UID.
        instance: Its SOP Instance UID.
    """

    series: str
    instance: str


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesResult:
    """The prediction for a series, and all that its objects need.

    Attributes:
        source: The series.
        prediction: Prediction for the series.
        images: Results of its images, in the order of the prediction's curve.
        model: The model.
        former: Report that the report replaces; None for none.
    """

    source: SourceSeries
    prediction: GroupPrediction
    images: Sequence[ImageResult]
    model: ResultModel
    former: FormerReport | None = None

    @cached_property
    def carrying(self) -> list[ImageResult]:
        """Results of the images that carried the decision, the highest score first."""
        return [self.images[int(index)] for index in self.prediction.curve.carrying]

    @property
    def ordered(self) -> list[ImageResult]:
        """Results of the images in the order of their places in the body, else of their numbers and UIDs."""
        curve = self.prediction.curve
        places = curve.places if curve.axis != "count" else np.zeros(len(self.images))  # they are those of the names
        pairs = zip(places.tolist(), self.images, strict=True)
        keys = [((place, self.source_image(one).order, one.frame or 0), one) for place, one in pairs]
        return [one for _, one in sorted(keys, key=lambda pair: pair[0])]

    def source_image(self, image: ImageResult) -> SourceImage:
        """Returns the source of an image's result."""
        return self.source.image_of(image.source, image.frame)

    def uid(self, kind: ObjectKind) -> str:
        """Returns the SOP Instance UID of an object: of the series, its instances, the model, its codes and version.

        That of a report is also of the one that it replaces, as it refers to it.
        """
        source, model = self.source, self.model
        parts = (source.series, source.instances, source.content, model.sha256, model.codes.parts, __version__)
        replaced = (self.former,) if kind == "sr" and self.former is not None else ()
        return derived_uid("instance", *parts, kind, *replaced)

    def tracking_uid(self, image: ImageResult | None = None) -> str:
        """Returns the UID that tracks the evaluations of an image, or of the series."""
        where = self.source.series if image is None else f"{self.source_image(image).sop_instance}#{image.frame or 0}"
        return derived_uid("tracking", where, self.model.sha256)

    @cached_property
    def evidence(self) -> list[SourceImage]:
        """All source images, each once."""
        return list({image.sop_instance: image for image in self.source.images.values()}.values())

    def referred_to(self, images: Iterable[ImageResult]) -> list[Dataset]:
        """Returns the source images of results, each once, as datasets that have only what highdicom refers to."""
        found = {}
        for image in map(self.source_image, images):
            one = found[image.sop_instance] = Dataset()
            one.SOPClassUID, one.SOPInstanceUID = image.sop_class, image.sop_instance
            one.StudyInstanceUID, one.SeriesInstanceUID = image.study, image.series
            # Patient and study are copied by `complete`: highdicom quotes a name in a warning if it looks unusual.
            for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
                setattr(one, name, "")
            for name in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
                setattr(one, name, "")
            one.Rows = one.Columns = 1  # marks it as an image
        return list(found.values())

    def settings(self, kind: ObjectKind) -> dict[str, Any]:
        """Returns arguments of highdicom's classes that all kinds of objects have in common."""
        day, time = self.source.moment or _now()
        number = _FIRST_NUMBER + 10 * (self.source.number or 0) % 1_000_000 + _PLACES[kind]
        return {
            "series_instance_uid": derived_uid("series", self.source.series, self.model.sha256, kind),
            "series_number": number,
            "series_description": _line(f"{MANUFACTURER} {_TITLES[kind]} (research): {self.model.spec.name}"),
            "sop_instance_uid": self.uid(kind),
            "instance_number": 1,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.model.name,
            "device_serial_number": self.model.sha256,
            "software_versions": _version(),
            "content_date": day,
            "content_time": time,
            "specific_character_set": CHARACTER_SET,
        }

    def coding_schemes(self) -> list[CodingSchemeIdentificationItem]:
        """Returns the descriptions of the private schemes of codes."""
        own = CodingSchemeIdentificationItem(
            PRIVATE_SCHEME, name=f"Terms of {MANUFACTURER}", responsible_organization=MANUFACTURER
        )
        return [own, *map(CodingSchemeIdentificationItem, sorted(self.model.codes.schemes))]

    def complete(self, made: SOPClass, kind: ObjectKind) -> None:
        """Completes an object: patient and study of the source, equipment, and no time at which it was made.

        Objects of the same result are equal, whenever they are made, if the source has a date.
        """
        for name in _TIMES:
            if name in made:
                delattr(made, name)
        copied = Dataset()
        copied.update(self.source.header)
        copied.SOPClassUID, copied.SOPInstanceUID = CTImageStorage, made.SOPInstanceUID  # read by highdicom
        made.copy_patient_and_study_information(copied)
        made.StudyInstanceUID = self.source.study
        for name, value in zip(("SeriesDate", "SeriesTime"), self.source.series_moment or (), strict=False):
            setattr(made, name, value)  # a PACS orders series by it
        for name in (*_OTHERS, *(_LOSSY if kind == "sc" else ())):
            if name in self.source.header:
                made.add(self.source.header[name])
        made.ContributingEquipmentSequence = self._equipment()

    def _equipment(self) -> list[ContributingEquipment]:
        found = []
        with suppress(Exception):  # an incomplete or invalid description of the scanner
            scanner = Dataset()
            scanner.update(self.source.header)
            scanner.SOPClassUID = self.evidence[0].sop_class
            found.append(ContributingEquipment.for_image_acquisition(scanner))
        found.append(
            ContributingEquipment(
                MANUFACTURER,
                codes.DCM.ProcessingEquipment,
                manufacturer_model_name=self.model.name,
                software_versions=_version(),
                device_serial_number=self.model.sha256,
                contribution_description="Classification of the images. Research, not for diagnosis.",
            )
        )
        library = ContributingEquipment.for_highdicom()
        del library.ContributionDateTime
        return [*found, library]


def _version() -> str:
    return f"{MANUFACTURER} {__version__}"


def _now() -> tuple[str, str]:
    now = datetime.now()  # DICOM's times are local
    return f"{now:%Y%m%d}", f"{now:%H%M%S}"


def _line(text: str) -> str:
    """Returns text that a Long String may be."""
    return escape_control(text).replace("\\", "/")[:_MOST_LETTERS].strip()
