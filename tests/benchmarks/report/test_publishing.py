"""Published results: a section for each machine, which its next one replaces, without touching other text."""

from pathlib import Path
from typing import Any

import pytest

from ctonnx.errors import CtonnxError
from ctonnx_bench.report.publishing import hardware_name, publish

SUBTITLE = "lungs on cpu, 2 threads, 224 pixels, from pixels to the prediction"
TITLES = [f"## mini-PC: {SUBTITLE}", f"## Jetson: {SUBTITLE}"]
RESULTS = Path(__file__).parents[3] / "docs/reference/results.md"


def test_section_has_the_command_and_is_replaced_by_the_next(tmp_path: Path, make_document: Any) -> None:
    file = tmp_path / "results.md"
    assert publish(make_document(), file, "mini-PC") == f"mini-PC: {SUBTITLE}"
    assert publish(make_document(slower=2.0), file, "Jetson") == f"Jetson: {SUBTITLE}"
    first = file.read_text(encoding="utf-8")
    assert first.startswith("# Results\n")
    assert first.count("$ ctonnx bench --peers pytorch") == 2
    assert [line for line in first.splitlines() if line.startswith("## ")] == TITLES
    assert "| ctonnx INT8 | 1 | right | 13.00 |" in first
    publish(make_document(slower=3.0), file, "mini-PC")
    second = file.read_text(encoding="utf-8")
    assert "| ctonnx INT8 | 1 | right | 13.00 |" not in second
    assert "| ctonnx INT8 | 1 | right | 39.00 |" in second
    assert "| ctonnx INT8 | 1 | right | 26.00 |" in second
    assert [line for line in second.splitlines() if line.startswith("## ")] == TITLES
    publish(make_document(slower=3.0), file, "mini-PC")
    assert file.read_text(encoding="utf-8") == second


def test_section_of_an_earlier_version_is_replaced(tmp_path: Path, make_document: Any) -> None:
    file = tmp_path / "results.md"
    publish(make_document(), file, "mini-PC")
    text = file.read_text(encoding="utf-8")
    head, _, sections = text.partition("<!--")
    old = sections.replace("to the prediction", "to the answer")
    file.write_text(f"{head.replace('with a section for each', 'a section for each')}<!--{old}", encoding="utf-8")
    publish(make_document(), file, "mini-PC")
    assert file.read_text(encoding="utf-8") == text


def test_results_in_the_documentation_can_be_published_again(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "results.md"
    file.write_text(RESULTS.read_text(encoding="utf-8"), encoding="utf-8")
    publish(document, file, "mini-PC")
    assert file.read_text(encoding="utf-8").startswith(RESULTS.read_text(encoding="utf-8"))


def test_folder_of_the_document_is_created(tmp_path: Path, document: dict[str, Any]) -> None:
    publish(document, tmp_path / "docs" / "new" / "results.md", "mini-PC")
    assert (tmp_path / "docs" / "new" / "results.md").is_file()


@pytest.mark.parametrize("warning", ["noisy: the interquartile range", "uneven: the rounds' medians", "busy: others"])
def test_unreliable_measurements_are_not_published(tmp_path: Path, document: dict[str, Any], warning: str) -> None:
    next(case for case in document["cases"] if case["own"])["doubts"] = [warning]
    with pytest.raises(CtonnxError, match=f"found unreliable ones, such as .*: {warning}; measure again"):
        publish(document, tmp_path / "results.md", "mini-PC")
    assert not (tmp_path / "results.md").exists()


def test_text_of_the_user_is_not_replaced(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "results.md"
    publish(document, file, None)
    text = file.read_text(encoding="utf-8") + "\nMy own text.\n"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CtonnxError, match=r"^expected a file for --publish that ctonnx bench wrote, or none, found"):
        publish(document, file, None)
    assert file.read_text(encoding="utf-8") == text
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(CtonnxError, match="found another text in"):
        publish(document, file, None)


def test_machine_is_named_by_the_processor_or_gpu_that_ran(document: dict[str, Any]) -> None:
    assert hardware_name(document) == "Some CPU, 2 cores with avx2"
    document["environment"]["gpu"] = "Some GPU"
    assert hardware_name(document) == "Some CPU, 2 cores with avx2"
    document["settings"]["provider"] = "openvino"
    assert hardware_name(document) == "Some CPU, 2 cores with avx2"
    document["settings"]["provider"] = "cuda"
    assert hardware_name(document) == "Some GPU"


def test_name_cannot_end_the_comment(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "results.md"
    publish(document, file, "a --> b\nc")
    publish(document, file, "a --> b\nc")
    assert file.read_text(encoding="utf-8").count(f"<!-- ctonnx bench: a -> b c: {SUBTITLE} -->") == 1


def test_other_settings_have_their_own_sections(tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "results.md"
    names = {publish(document, file, "mini-PC")}
    document["settings"]["files"] = "scans"
    names.add(publish(document, file, "mini-PC"))
    document["settings"]["provider"] = "cuda"
    names.add(publish(document, file, "mini-PC"))
    for case in document["cases"]:
        case["threads"] = 1
    names.add(publish(document, file, "mini-PC"))
    assert len(names) == file.read_text(encoding="utf-8").count("\n## ") == 4
