"""Two specs: one with only the required fields, and one with all."""

from ctonnx.artifacts.decision.brightness import BrightnessRange
from ctonnx.artifacts.decision.novelty import Novelty
from ctonnx.artifacts.decision.operating_point import OperatingPoint
from ctonnx.artifacts.decision.patient_rule import PatientRule
from ctonnx.artifacts.decision.prediction_sets import PredictionSets
from ctonnx.artifacts.decision.usage import UsageReference
from ctonnx.artifacts.spec import ModelSpec
from ctonnx.images import Preprocessing
from ctonnx.images.preprocessing import DicomWindow

SMALL = ModelSpec(
    name="lungs",
    classes=("normal", "tumor"),
    preprocessing=Preprocessing(size=64),
    precision="fp32",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="ab" * 32,
    data={},
    synthetic=False,
    metrics={},
    parity={},
    versions={},
)


POINT = OperatingPoint(
    positive=("large cell", "普通"),
    threshold=0.31,
    sensitivity=0.97,
    specificity=0.8,
    target_sensitivity=0.95,
    sensitivity_interval=(0.91, 0.99),
    specificity_interval=(0.7, 0.87),
    sensitivity_bound=0.92,
    positive_images=59,
    negative_images=13,
    leaked_images=10,
    leaked_images_used=True,
    positive_patients=21,
    negative_patients=5,
    gap=(0.1, 0.6),
)


FULL = ModelSpec(
    name="plíce",
    classes=("zdravé", "large cell", "普通"),
    preprocessing=Preprocessing(size=128, color="rgb", crop="body", resize="pad", intensity="normalize"),
    precision="int8",
    created="2026-01-02T03:04:05+00:00",
    checkpoint_sha256="0f" * 32,
    data={"name": "scans", "fingerprint": "cd", "images": {"train": {"zdravé": 3}}},
    synthetic=True,
    metrics={"valid": {"accuracy": 0.9, "confusion_matrix": [[1, 2], [3, 4]], "auroc": None}},
    parity={"images": 8, "max_dp": 1.5e-7},
    gate={"max_dp": 0.005, "min_agreement": 0.99},
    versions={"torch": "2.15.0", "onnx": "1.23.2"},
    networks=5,
    temperature=1.37,
    dicom_window=DicomWindow(center=40.0, width=400.0),
    quantization={"scheme": "QDQ", "per_channel": True},
    operating_point=POINT,
    prediction_sets=PredictionSets(
        coverage=0.9,
        lowest={"zdravé": 0.2, "large cell": 0.1, "普通": 0.05},
        images={"zdravé": 13, "large cell": 21, "普通": 38},
        positive=("large cell", "普通"),
        leaked_images_used=True,
        patients={"zdravé": 13, "large cell": 20, "普通": 30},
    ),
    novelty=Novelty(
        threshold=95.5,
        quantile=0.95,
        quantiles=tuple(float(percent) for percent in range(101)),
        images=72,
        training_images=613,
        components=64,
        leaked_images_used=True,
        patients=40,
    ),
    patient_rule=PatientRule(
        aggregate="top-k",
        k=3,
        operating_point=POINT,
        patients=40,
    ),
    brightness=BrightnessRange(low=20.5, high=180.0, images=613),
    shortcuts={"verdict": "some", "classes": {"zdravé": {"verdict": "some", "auroc": 0.8}}},
    acquisition={
        "images": 3,
        "medians": {"format": "PNG", "mean": 73.5},
        "middle_90": {"mean": [60.5, 80.0]},
        "by_class": {"zdravé": {"format": "PNG", "mean": 73.5}},
    },
    usage=UsageReference(images=3, counts={"class": {"zdravé": 2, "普通": 1}, "size": {"512x512": 3}}),
    history=({"created": "2026-01-03T00:00:00+00:00", "temperature": 1.2},),
    content_checksum="0cafe",
)
