import signal
from pathlib import Path

import pytest

from ctonnx.errors import CtonnxError
from ctonnx_scale.cluster import ActorResources, connected


@pytest.mark.parametrize(
    ("cpus", "gpus", "found", "actors"),
    [(1, 0, {"CPU": 16.0}, 16), (3, 0, {"CPU": 16.0}, 5), (2, 0.5, {"CPU": 16.0, "GPU": 2.0}, 4)],
)
def test_cluster_has_as_many_actors_as_it_has_cpus_and_gpus_for(
    cpus: int, gpus: float, found: dict[str, float], actors: int
) -> None:
    assert ActorResources(cpus=cpus, gpus=gpus, actors=None).actors_for(found) == actors
    assert ActorResources(cpus=cpus, gpus=gpus, actors=40).actors_for(found) == 40


def test_cluster_without_room_for_one_actor_is_an_error() -> None:
    with pytest.raises(CtonnxError) as caught:
        ActorResources(cpus=2, gpus=1, actors=None).actors_for({"CPU": 8.0})
    assert str(caught.value) == (
        "expected a cluster with 2 CPUs and 1 GPUs for an actor, found 8 CPUs and 0 GPUs; lower --threads or "
        "--actor-gpus, or name --actors if nodes will join"
    )


def test_client_address_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with (
        pytest.raises(CtonnxError, match=r"found 'ray://head:10001' of a client; run the command on a node"),
        connected(ActorResources(cpus=1, gpus=0, actors=1)),
    ):
        pass


def test_ray_that_starts_too_slowly_starts_again_and_other_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("ray.shutdown", lambda: None)
    errors = [Exception("The current node timed out during startup. This"), Exception("no port\nTraceback")]
    started: list[dict[str, object]] = []

    def start(**options: object) -> None:
        started.append(options)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if errors:
            raise errors.pop(0)

    monkeypatch.setattr("ray.init", start)
    handler = signal.getsignal(signal.SIGTERM)
    resources = ActorResources(cpus=2, gpus=0, actors=1)
    with pytest.raises(CtonnxError) as caught, connected(resources):
        pass
    assert str(caught.value) == "expected Ray to start on this machine, found: no port"
    with connected(resources) as actors:
        folder = Path(str(started[2]["_temp_dir"]))
        assert (folder.is_dir(), actors, started[2]["num_cpus"], started[2]["include_dashboard"]) == (True, 1, 2, False)
    assert not folder.exists()
    assert len(str(folder)) < 50  # with what Ray adds, the path of a socket has at most 107 characters
    assert signal.getsignal(signal.SIGTERM) == handler
