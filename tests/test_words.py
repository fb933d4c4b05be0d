"""The check of the project's words: what each rule finds and leaves, where prose is looked for, and the exit code."""

from pathlib import Path

import pytest
from tests import words
from tests.words import RULES, main

FOUND = [
    ("# The user is told.", "told"),
    ("# Telling two classes apart.", "Telling"),
    ("# A header that says so.", "says"),
    ("# The command that mends it.", "mends"),
    ("# Accuracy on copies flatters.", "flatters"),
    ("# NaN is refused.", "refused"),
    ("def refuse_nan(): ...", "refuse"),
    ("# Lets in who has the key, or lets everybody in.", "Lets in"),
    ("# No client is let closer.", "is let"),
    ("# The spec stands in the file.", "stands"),
    ("# A file that holds two models.", "holds two"),
    ("# Each output is held against NumPy's.", "held against"),
    ("# The image that is to be read.", "is to be"),
    ("# An error of ours.", "of ours"),
    ("# What the report keeps of it.", "of it"),
    ("# A file, which is read, and which has a mark.", "which is read, and which"),
    ("# A run, of which the models are read.", "of which"),
    ("# The figures of an epoch.", "figures"),
    ("class_figures = 1", "figures"),
    ("# A doubtful median.", "doubtful"),
    ("# A caution for blank images.", "caution"),
    ("# PyTorch's answers count.", "answers"),
    ("# The data set.", "data set"),
    ("class DataSet: ...", "data set"),
    ("# Hidden files are passed over.", "passed over"),
    ("# Made anew.", "anew"),
    ("# Bytes in place of JSON.", "in place of"),
    ("# A key is no secret.", "is no secret"),
    ('def f():\n    """Returns why it failed."""', "Returns why"),
    ('"""What a model runs on."""', "What"),
    ('"""Of each epoch."""', "Of"),
    ('"""Lets threads sleep."""', "Lets"),
    ('"""Reads.\n\nArgs:\n    gate: That a model must pass.\n"""', "That"),
    ('"""Reads.\n\nRaises:\n    ValueError: It cannot be read.\n"""', "It"),
    ('"""Reads.\n\nArgs:\n    log: Is called.\n"""', "Is"),
    ('"""Reads.\n\nAttributes:\n    gate: the bounds.\n"""', "the"),
    ('option("--seed", help="Of each training.")', "Of"),
    ('option("--seed", help="of each training.")', "of"),
]
LEFT = [
    "# As the DICOM standard says, and as RFC 9110 says.",
    "# The connection was refused.",
    "# The folder has refused.md then.",
    "# PATH stands for a folder, and one color stands out.",
    "# The process holds the lock; float16 cannot hold the sum.",
    "# All of them, and a copy of it.",
    "# 72 images, of which 10 are copies.",
    "# Two copies, each of which is named.",
    'CSS = "figure { margin: 0 } img { margin: 0 }"',
    "# Four significant figures.",
    'TEXT = f"Prediction(score={score}, caution={caution})"',
    'ROW = f"  caution: {caution}"',
    "# The server answers, and a client does not answer a request.",
    "# A DICOM data set, or the data set that pydicom reads.",
    "# One pass over the images.",
    "# There is no image, and it is no longer read.",
    '"""Reads.\n\nArgs:\n    gate: Bounds of the model.\n    low: At most two bytes.\n    many: As many as cores.\n"""',
    '"""Reads.\n\nArgs:\n    text: onnxruntime\'s message.\n    size: 224 pixels.\n    name: `name` of the run.\n"""',
    '"""Reads.\n\nAttributes:\n    caution: Warning about the image.\n"""\ncaution = 1',
    '"""What is read?"""',
    '"""Of 24 bits, 8 are read."""',
    "# Code is left: `told`, ``refuse()``, https://example.org/told.",
    "x = {'told': refuse.told}",
]
AT_THEIR_PATHS = [
    ("plots.py", "# The figure has two axes."),
    ("earlier.py", "figures = 1\ndoubts = 1"),
    ("audit.py", "passed_over = 1"),
    ("predictor.py", "refusal = 1"),
    ("prediction/__init__.py", '"""Predicts.\n\ncautions  warnings about images\n"""'),
    ("server/app.py", "# Its answers are JSON; the answer is sent."),
    ("dicom/header.py", "# A data set up to its pixels."),
    ("report/publishing.py", "# From pixels to the answer."),
]


@pytest.fixture(autouse=True)
def _root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "ROOT", tmp_path)


def check(folder: Path, content: str, name: str = "module.py") -> list[tuple[int, str]]:
    """Returns line and words of each finding in a file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, encoding="utf-8")
    return [(line, found) for line, _, found in words.findings(file, name)]


@pytest.mark.parametrize(("content", "found"), FOUND)
def test_rule_finds_its_bad_sample(content: str, found: str, tmp_path: Path) -> None:
    assert found in [words for _, words in check(tmp_path, content)]


@pytest.mark.parametrize("content", LEFT)
def test_correct_use_is_left(content: str, tmp_path: Path) -> None:
    assert check(tmp_path, content) == []


@pytest.mark.parametrize(("name", "content"), AT_THEIR_PATHS)
def test_use_that_is_correct_in_some_files_is_found_in_others(name: str, content: str, tmp_path: Path) -> None:
    assert check(tmp_path, content, name) == []
    assert check(tmp_path, content, "other.py") != []


def test_model_does_not_answer_on_a_server_either(tmp_path: Path) -> None:
    assert check(tmp_path, "# The model's answer is sent.", "server/app.py") == [(1, "model's answer")]


def test_every_rule_has_a_sample(tmp_path: Path) -> None:
    samples = [*(content for content, _ in FOUND), "# The model's answer."]
    hit = set()
    for name in ("module.py", "server.py"):
        for content in samples:
            (tmp_path / name).write_text(content, encoding="utf-8")
            hit |= {rule for _, rule, _ in words.findings(tmp_path / name, name)}
    assert [rule.pattern for rule in RULES if rule not in hit] == []


def test_python_is_read_in_docstrings_comments_messages_and_names(tmp_path: Path) -> None:
    content = '''"""Reads what
is told."""
# A long comment, told
# anew.
MESSAGE = (
    f"expected {told.refuse('told x')} of {{told}}, found "
    "that it is told anew"
)
KEY = "told"
x = told.refuse(told)
def told_so(flag, *, refused): ...
'''
    assert check(tmp_path, content) == [
        (11, "told"), (11, "refused"), (2, "told"), (3, "told"), (4, "anew"), (6, "told"), (7, "told"), (7, "anew")
    ]  # fmt: skip


def test_strings_of_tests_are_expectations_of_the_sources(tmp_path: Path) -> None:
    content = 'def test_it_is_told():\n    """It is told."""\n    assert f() == "it was told"  # told\n'
    assert check(tmp_path, content, "tests/test_it.py") == [(1, "told"), (2, "told"), (3, "told")]


def test_markdown_is_read_outside_of_code_and_the_changelog_in_its_newest_entries(tmp_path: Path) -> None:
    content = "# Changelog\n\n## 2\n\nIt is\ntold.\n\n```console\ntold\n```\n\nTold [x](told.md)\n\n## 1\n\nTold.\n"
    assert check(tmp_path, content, "CHANGELOG.md") == [(6, "told"), (12, "Told")]
    assert check(tmp_path, content, "docs.md") == [(6, "told"), (12, "Told"), (16, "Told")]


def test_text_of_the_page_is_read_and_not_its_code(tmp_path: Path) -> None:
    page = '<p id="told"\n title="Told">A\nfile is told.</p><svg>told</svg>'
    script = '// told\nconst told = "told";\nconst text = `It is ${told} told`; /* It is\nanew. */\n'
    assert check(tmp_path, page, "index.html") == [(1, "Told"), (3, "told")]
    assert check(tmp_path, script, "page.js") == [(1, "told"), (3, "told"), (4, "anew")]


def test_comments_of_makefile_and_toml_are_read_and_the_description(tmp_path: Path) -> None:
    content = 'description = "What is told"\nkey = "told" # it was told\ntold:  ## anew\n'
    assert check(tmp_path, content, "pyproject.toml") == [(1, "told"), (2, "told"), (3, "anew")]


def test_run_prints_findings_and_its_exit_code_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, "# Run anew.\n", "docs/a.py")
    assert main([]) == 1
    assert capsys.readouterr().out == 'docs/a.py:1: "anew": write "again, from scratch" (plain word)\n'


def test_run_without_findings_has_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, "# Run again.\n", "docs/a.py")
    check(tmp_path, "# Run anew.\n", "tests/words.py")
    check(tmp_path, "# Run anew.\n", "docs/a.txt")
    assert main([]) == 0
    assert capsys.readouterr().out == ""


def test_paths_limit_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, "# Run anew.\n", "docs/a.py")
    check(tmp_path, "# Run again.\n", "docs/b.py")
    assert main([str(tmp_path / "docs/b.py")]) == 0
    assert main([str(tmp_path / "docs")]) == 1
    with pytest.raises(SystemExit):
        main([str(tmp_path / "missing")])
    assert "expected files or folders, found none at" in capsys.readouterr().err


def test_counts_are_per_file_and_per_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, "# Run anew, anew.\n# It is told.\n", "docs/a.py")
    assert main(["--count"]) == 1
    assert capsys.readouterr().out == "     3  docs/a.py\n\n     2  \\banew\\b\n     1  \\btold\\b\n\n"
