"""The defaults of a benchmark are those of the command and of the documentation."""

from click import Option

from ctonnx_bench.cases.settings import ReportOptions, Settings
from ctonnx_bench.cli import bench


def test_defaults_are_those_of_the_command() -> None:
    options = {option.name: option for option in bench.params if isinstance(option, Option)}
    assert options["batch_sizes"].default == "1,8"
    assert Settings().batch_sizes == (1, 8)
    assert options["duration"].default == Settings().duration == 10.0
    assert options["rounds"].default == Settings().rounds == 5
    assert str(options["fail_over"].help).endswith("[default: 10%]")
    assert ReportOptions().fail_over == 0.10
