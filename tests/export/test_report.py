"""What the report beside a model tells."""

import json

from ctonnx.runs import Run


def test_report_tells_parity_metrics_and_files(exported_run: Run) -> None:
    folder = exported_run.export_folder
    facts = json.loads((folder / "report.json").read_text())
    assert facts["gate"] == {"passed": True, "max_dp": 1e-4, "min_agreement": 0.0}
    assert facts["files"]["model.fp32.onnx"]["bytes"] == (folder / "model.fp32.onnx").stat().st_size
    assert facts["notes"] == {"onnxsim": "simplified"}
    text = (folder / "report.md").read_text()
    assert "synthetic phantoms" in text
    assert "not a medical device" in text
    assert f"| images compared | {facts['model']['parity']['images']} |" in text
    assert facts["files"]["golden.npz"]["sha256"] in text
