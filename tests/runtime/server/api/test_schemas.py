"""Schemas of the OpenAPI document."""

from ctonnx.prediction.predictor import Predictor
from ctonnx.server.api.schemas import reference, schemas
from ctonnx.server.settings import Limits, Settings


def test_schemas_have_the_models_classes_and_the_servers_limits(predictor: Predictor) -> None:
    found = schemas(predictor.spec, Settings(limits=Limits(files=7)))
    result = found["Results"]["properties"]["results"]["items"]
    assert result["properties"]["label"]["enum"] == [*predictor.spec.classes, None]
    shape = found["InferRequest"]["properties"]["inputs"]["items"]["properties"]["shape"]
    assert shape["prefixItems"][0]["maximum"] == 7
    assert reference("Results")["$ref"].rpartition("/")[2] in found
