"""The fuzz targets pass on some damaged inputs, and the fuzzer finds a fault."""

import random
from pathlib import Path

import pytest
from tests import fuzzing
from tests.fuzzing import TARGETS, Target, damaged, fuzz


@pytest.mark.parametrize("name", TARGETS)
def test_target_takes_its_seeds_and_damaged_ones(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds():
        target.run(seed)
    failures = [failure for _, failure in fuzz({name: target}, inputs=40) if failure is not None]
    assert failures == []


def test_fault_is_found_with_the_input_that_shows_it() -> None:
    def run(content: bytes) -> None:
        if b"\xff\xff" in content:
            raise IndexError("out of range")

    target = Target(lambda: [bytes(64)], run, (ValueError,))
    failures = [failure for _, failure in fuzz({"planted": target}, inputs=300) if failure is not None]
    assert failures
    assert all(b"\xff\xff" in failure.content and "IndexError: out of range" in failure.error for failure in failures)


def test_documented_error_is_no_fault_and_a_slow_input_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "_LONGEST", -1.0)

    def rejected(content: bytes) -> None:
        raise ValueError("damaged")

    ((_, failure),) = fuzz({"slow": Target(lambda: [b"a"], rejected, (ValueError,))}, inputs=1)
    assert failure is not None
    assert failure.error.startswith("it took 0 s")


def test_same_seed_gives_the_same_inputs() -> None:
    draws = random.Random(1), random.Random(1)  # noqa: S311  nothing is kept secret by it
    first, second = ([damaged(b"a" * 100, draw) for _ in range(20)] for draw in draws)
    assert first == second
    assert len(set(first)) > 15


def test_failing_input_is_kept_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(content: bytes) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(fuzzing, "TARGETS", {"bad": Target(lambda: [b"seed"], run, ())})
    monkeypatch.setattr("sys.argv", ["fuzzing", "--minutes", "0.0005", "--seed", "3", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        fuzzing.main()
    assert "bad: KeyError: 'a bug'" in capsys.readouterr().out
    kept = sorted(tmp_path.glob("bad-*.bin"))
    assert 0 < len(kept) <= 20
    assert "KeyError" in kept[0].with_suffix(".txt").read_text()
    monkeypatch.setattr("sys.argv", ["fuzzing", "--repeat", str(kept[0])])
    with pytest.raises(KeyError, match="a bug"):
        fuzzing.main()
