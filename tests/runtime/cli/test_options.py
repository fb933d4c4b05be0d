"""Options that several commands share."""

from pathlib import Path

import click
import pytest
from tests.runtime.cli.commands.predicting import predict

from ctonnx.cli.main import _COMMANDS, main


@pytest.mark.parametrize("name", _COMMANDS)
def test_nan_and_inf_are_rejected_by_every_option(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    numbers = [
        parameter
        for leaf in leaves
        if leaf
        for parameter in leaf.params
        if isinstance(parameter.type, click.types.FloatParamType)
    ]
    for parameter in numbers:
        for value in ("nan", "inf"):
            with pytest.raises(click.BadParameter):
                parameter.type.convert(value, parameter, None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument 'PATH...'."),
        (("scans", "--top-k", "0"), "Invalid value for '--top-k': 0 is not in the range x>=1."),
        (("scans", "--batch-size", "0"), "Invalid value for '--batch-size': 0 is not in the range x>=1."),
        (("scans", "--threads", "0"), "Invalid value for '--threads': 0 is not in the range x>=1."),
        (
            ("scans", "--threads", "5000"),
            "Invalid value for '--threads': expected at most 64 threads, found 5000; this process may use 2 cores, and "
            "as many threads are the default.",
        ),
        (("scans", "--format", "xml"), "Invalid value for '--format': 'xml' is not one of 'table', 'jsonl', 'csv'."),
        (
            ("scans", "--provider", "tpu"),
            "Invalid value for '--provider': 'tpu' is not one of 'cpu', 'cuda', 'tensorrt', 'tensorrt-rtx', "
            "'openvino', 'openvino:gpu', 'openvino:npu', 'coreml', 'mlx', 'directml', 'qnn', 'webgpu', 'auto'.",
        ),
    ],
)
def test_option_out_of_range_is_rejected(
    words: tuple[str, ...], message: str, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("ctonnx.system.cpu.available_cores", lambda: 2)
    result = predict(*words)
    assert (result.stdout, result.exit_code) == ("", 2)
    assert result.stderr.splitlines()[-1] == f"Error: {message}"
