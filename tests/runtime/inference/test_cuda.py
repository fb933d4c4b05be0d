"""Settings of CUDA come from a block or from the environment, and become onnxruntime's options."""

import pytest

from ctonnx.errors import ProviderError
from ctonnx.inference.cuda import VARIABLE, CudaSettings, cuda_options, cuda_settings
from ctonnx.inference.providers import execution_providers

DEFAULT = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", DEFAULT),
        ("tf32", {**DEFAULT, "use_tf32": "1"}),
        (" nhwc,search=exhaustive ", {**DEFAULT, "cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1"}),
        ("search=default,", {**DEFAULT, "cudnn_conv_algo_search": "DEFAULT"}),
    ],
)
def test_options_are_those_of_the_environment(
    text: str, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert cuda_options() == expected
    assert execution_providers("cuda", b"", threads=1, version="1.31.1") == [("CUDAExecutionProvider", expected)]


@pytest.mark.parametrize("text", ["fast", "search=slow", "search", "graph", "tf32=1"])
def test_setting_that_does_not_exist_is_an_error_with_the_existing_ones(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"nhwc,{text}")
    with pytest.raises(ProviderError) as caught:
        cuda_options()
    expected = "expected settings of CTONNX_CUDA (tf32, nhwc, search=heuristic|exhaustive|default), found "
    assert str(caught.value) == f"{expected}{text!r}"


def test_block_has_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "tf32")
    with cuda_settings(CudaSettings(cuda_graph=True)):
        assert cuda_options() == {**DEFAULT, "enable_cuda_graph": "1"}
        with cuda_settings(CudaSettings()):
            assert cuda_options() == DEFAULT
    assert cuda_options()["use_tf32"] == "1"
