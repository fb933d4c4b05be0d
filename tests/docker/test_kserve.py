"""KServe's files: the container's command is run as it is written, with the model's name, folder and port."""

from pathlib import Path

import numpy as np
import tritonclient.http as triton
import yaml
from tests.docker.test_replicas import free_port
from tests.runtime.server.conftest import started

from ctonnx.prediction.predictor import Predictor

FOLDER = Path(__file__).parents[2] / "docker/kserve"


def test_runtime_serves_the_model_by_the_name_of_its_service(model: Path, tmp_path: Path) -> None:
    runtime = yaml.safe_load((FOLDER / "serving-runtime.yaml").read_text())["spec"]
    service = yaml.safe_load((FOLDER / "inference-service.yaml").read_text())
    (container,) = runtime["containers"]
    assert container["command"] == ["ctonnx", "serve"]
    models = tmp_path / "models"
    models.mkdir()
    (models / "model.fp32.onnx").write_bytes(model.read_bytes())
    name, port = service["metadata"]["name"], free_port()
    given = {"/mnt/models": str(models), "{{.Name}}": name, "0.0.0.0": "127.0.0.1", "8080": str(port)}  # noqa: S104  what the file has
    options = container["args"]
    for old, new in given.items():
        assert sum(old in option for option in options) == 1
        options = [option.replace(old, new) for option in options]
    with started(models, *options) as run:
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] == container["ports"][0]["containerPort"] == 8080
            assert run.server.get(asked["path"]).status == 200
        metrics = runtime["annotations"]["prometheus.kserve.io/path"]
        assert f'model="{name}"' in run.server.get(metrics).body.decode()
        client = triton.InferenceServerClient(f"127.0.0.1:{port}")
        assert client.is_model_ready(name)
        with Predictor(model) as predictor:
            size = predictor.spec.preprocessing.size
        pixels = triton.InferInput("pixels", [1, size, size, 3], "UINT8")
        pixels.set_data_from_numpy(np.zeros((1, size, size, 3), np.uint8))
        assert np.isclose(client.infer(name, [pixels]).as_numpy("probabilities").sum(), 1, atol=1e-5)
        client.close()


def test_service_names_what_the_runtime_serves() -> None:
    runtime = yaml.safe_load((FOLDER / "serving-runtime.yaml").read_text())
    model = yaml.safe_load((FOLDER / "inference-service.yaml").read_text())["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    named = [{key: entry[key] for key in ("name", "version")} for entry in runtime["spec"]["supportedModelFormats"]]
    assert model["modelFormat"] in named
