"""A graph with anything that exports do not have is rejected before onnxruntime reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tests.runtime.inference.test_session import SPEC, means

from ctonnx.artifacts.onnx_file.operators import IR_VERSION, OPERATORS, OPSET, check_graph
from ctonnx.cli.main import main
from ctonnx.errors import ModelError
from ctonnx.inference.session import open_session


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return means(tmp_path / "model.onnx", SPEC.to_json())


def error_of(file: Path) -> str:
    """Returns the expected and found parts of the error for a file."""
    with pytest.raises(ModelError) as caught:
        check_graph(file)
    end = f" in '{file}': the model was made by something else, or by a newer ctonnx; export it with: ctonnx export RUN"
    assert str(caught.value).endswith(end), str(caught.value)
    with pytest.raises(ModelError) as caught:
        open_session(file)
    assert str(caught.value) == str(caught.value)
    return str(caught.value).removesuffix(end)


def change(file: Path, how: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(file)
    how(model)
    onnx.save(model, file)
    return file


def endless_loop() -> onnx.NodeProto:
    """Returns a node that adds one to a number 2^62 times."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["before", "before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["times", "", "means"], ["looped"], body=body)


def test_graph_of_an_exports_operators_passes(file: Path) -> None:
    check_graph(file)
    check_graph(file.read_bytes())


def test_model_that_loops_forever_ends_predict_immediately(file: Path) -> None:
    def loop(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(numpy_helper.from_array(np.array(1 << 62), "times"))
        model.graph.node.insert(2, endless_loop())
        model.graph.node[3].input[0] = "looped"

    change(file, loop)
    (file.parent / "scan.png").touch()
    result = CliRunner().invoke(main, ["predict", "--model", str(file), str(file.parent / "scan.png")])
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: expected only the operators of a ctonnx model, found 'Loop' in '{file}': the model was made by "
        "something else, or by a newer ctonnx; export it with: ctonnx export RUN\n"
    )


@pytest.mark.parametrize(
    "operator",
    [
        *("Loop", "If", "Scan", "SequenceMap", "SequenceConstruct", "Expand", "Tile", "ConstantOfShape", "Range"),
        *("Resize", "Pad", "Einsum", "RandomNormal", "NonZero", "StringNormalizer", "Optional", "add", "", "Add "),
    ],
)
def test_operator_that_no_export_has_is_rejected_by_its_name(operator: str, file: Path) -> None:
    change(file, lambda model: model.graph.node.append(onnx.NodeProto(op_type=operator, input=["x"], output=["y"])))
    assert error_of(file) == f"expected only the operators of a ctonnx model, found '{operator}'"


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "my.own", "ai.onnx.preview.training", " "])
def test_operator_of_another_domain_is_rejected(domain: str, file: Path) -> None:
    change(file, lambda model: model.graph.node.append(onnx.NodeProto(op_type="Add", domain=domain)))
    assert error_of(file) == f"expected only operators of ONNX's own domain, found 'Add' of '{domain}'"


def test_control_characters_of_a_name_are_escaped_in_the_message(file: Path) -> None:
    change(file, lambda model: model.graph.node.append(onnx.NodeProto(op_type="Loop\n\x1b[2J")))
    assert error_of(file) == "expected only the operators of a ctonnx model, found 'Loop\\n\\x1b[2J'"


def test_name_of_onnxs_own_domain_is_accepted(file: Path) -> None:
    change(file, lambda model: setattr(model.graph.node[0], "domain", "ai.onnx"))
    check_graph(file)


def weight(**values: Any) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", **{"data_type": TensorProto.FLOAT, **values})


def external(location: str) -> onnx.TensorProto:
    made = weight(dims=[1], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value=location)
    return made


def in_a_graph_inside(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", onnx.GraphProto()))


def a_function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("f", "Add", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))


def many_nodes(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Add", ["x", "x"], ["y"])] * 10_000)


MANY = "expected weights of as many values as are in the file, found some of shape "
BESIDE = "expected all weights in the model's one file, found some in another file"


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (in_a_graph_inside, "expected operators without a graph inside, found 'Cast' with one"),
        (a_function, "expected a graph without functions, found some"),
        (lambda model: model.training_info.add(), "expected a graph without training steps, found some"),
        (lambda model: model.graph.sparse_initializer.add(), "expected a graph without sparse weights, found some"),
        (many_nodes, "expected a graph of at most 10000 nodes, found 10005"),
        (
            lambda model: setattr(model, "ir_version", IR_VERSION + 1),
            "expected version 10 of the ONNX format or an older one, found 11",
        ),
        (
            lambda model: setattr(model.opset_import[0], "version", OPSET + 1),
            "expected operator set 20 or an older one, found 21",
        ),
        (
            lambda model: model.graph.node.append(helper.make_node("MaxPool", ["x"], ["y"], pads=[0, 0, 5000, 0])),
            "expected settings of operators up to 4096, found 'MaxPool' with 5000",
        ),
        (
            lambda model: model.graph.node.append(helper.make_node("MaxPool", ["x"], ["y"], group=-(1 << 62))),
            f"expected settings of operators up to 4096, found 'MaxPool' with {-(1 << 62)}",
        ),
        (lambda model: model.graph.initializer.append(weight(dims=[10**6, 10**6])), f"{MANY}[1000000, 1000000]"),
        (
            lambda model: model.graph.initializer.append(weight(dims=[10**12], raw_data=bytes(4000))),
            f"{MANY}[1000000000000]",
        ),
        (lambda model: model.graph.initializer.append(weight(dims=[-1], raw_data=bytes(4))), f"{MANY}[-1]"),
        (
            lambda model: model.graph.node.append(
                helper.make_node("Constant", [], ["y"], value=weight(dims=[10**9], float_data=[1.0]))
            ),
            f"{MANY}[1000000000]",
        ),
        (lambda model: model.graph.initializer.append(external("../outside.bin")), BESIDE),
        (lambda model: model.graph.initializer.append(external("/etc/passwd")), BESIDE),
        (lambda model: model.graph.initializer.append(external("none.bin")), BESIDE),
        (
            lambda model: model.graph.initializer.append(weight(dims=[1], data_location=TensorProto.EXTERNAL)),
            BESIDE,
        ),
        (
            lambda model: model.graph.node.append(
                helper.make_node("Constant", [], ["y"], value=external("weights.bin"))
            ),
            BESIDE,
        ),
    ],
)
def test_graph_with_anything_that_no_export_has_is_rejected(
    how: Callable[[onnx.ModelProto], object], found: str, file: Path
) -> None:
    change(file, how)
    assert error_of(file) == found


def test_weights_in_another_file_are_rejected_as_the_checksum_does_not_cover_them(file: Path) -> None:
    change(file, lambda model: model.graph.initializer.append(external("weights.bin")))
    (file.parent / "weights.bin").write_bytes(bytes(4))
    assert error_of(file) == BESIDE


@pytest.mark.parametrize("content", [b"", b"text", bytes(100), b"\x08\x0a"])
def test_file_that_is_not_a_model_is_reported(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"' is not a whole ONNX model \(.+\); if it was copied or downloaded, do"):
        check_graph(file)


def test_operators_are_those_of_the_documentation() -> None:
    text = Path("docs/reference/model-file.md").read_text(encoding="utf-8")
    named = text[text.index("## The operators") : text.index("## The spec")]
    assert {word.strip("`,.") for word in named.split() if word.startswith("`")} >= OPERATORS
    assert f"IR version {IR_VERSION}" in named
    assert f"opset {OPSET}" in named
