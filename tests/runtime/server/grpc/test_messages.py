"""Messages of the protocol: the same fields as Triton's and as gRPC's own definitions."""

from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from ctonnx.server.grpc.messages import HEALTH, INFERENCE, message

NAMES = [
    "ServerLiveRequest",
    "ServerLiveResponse",
    "ServerReadyRequest",
    "ServerReadyResponse",
    "ModelReadyRequest",
    "ModelReadyResponse",
    "ServerMetadataRequest",
    "ServerMetadataResponse",
    "ModelMetadataRequest",
    "ModelMetadataResponse",
    "ModelInferRequest",
    "ModelInferResponse",
    "RepositoryIndexRequest",
    "RepositoryIndexResponse",
]


def fields(descriptor: Any) -> dict[str, Any]:
    """Returns the fields of a message, those of its messages included: number, type, label, choice."""
    return {
        field.name: (
            field.number,
            field.type,
            field.label,
            field.containing_oneof.name if field.containing_oneof else None,
            field.message_type and (field.message_type.full_name, fields(field.message_type)),
        )
        for field in descriptor.fields
    }


@pytest.mark.parametrize("name", NAMES)
def test_messages_are_tritons(name: str) -> None:
    theirs, ours = getattr(service_pb2, name).DESCRIPTOR, message(name).DESCRIPTOR
    assert ours.full_name == theirs.full_name
    assert fields(ours) == fields(theirs)


def test_a_message_of_one_is_read_by_the_other() -> None:
    sent = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"\x00\xff"])
    sent.parameters["timeout"].int64_param = 7
    sent.inputs.add(name="pixels", datatype="UINT8", shape=[1, 2]).contents.uint_contents.extend([3, 300])
    read = message("ModelInferRequest").FromString(sent.SerializeToString())
    assert read.parameters["timeout"].int64_param == 7
    assert list(read.inputs[0].contents.uint_contents) == [3, 300]
    assert read.SerializeToString() == sent.SerializeToString()


def test_services_have_the_protocols_names() -> None:
    assert service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name == INFERENCE
    assert HEALTH == "grpc.health.v1.Health"
    response = message("HealthCheckResponse")
    assert response(status="SERVING").SerializeToString() == b"\x08\x01"  # field 1, a varint of 1
    assert message("HealthCheckRequest").FromString(b"\x0a\x01x").service == "x"
