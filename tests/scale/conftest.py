"""Fixtures: an S3 server on the loopback, and a Ray cluster of two CPUs, each started once for this folder."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow.fs import S3FileSystem


@pytest.fixture(scope="package")
def s3_server() -> Iterator[S3FileSystem]:
    """The client of an S3 server, which the environment of this process and its children names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the server's libraries
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        yield S3FileSystem(endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True)
    server.stop()


@pytest.fixture
def bucket(s3_server: S3FileSystem, request: pytest.FixtureRequest) -> Callable[[dict[str, bytes]], str]:
    """A function that makes a bucket with files, and returns its URI."""
    made = 0

    def make(files: dict[str, bytes]) -> str:
        nonlocal made
        made += 1
        name = f"archive-{abs(hash(request.node.nodeid))}-{made}"
        s3_server.create_dir(name)
        for key, content in files.items():
            with s3_server.open_output_stream(f"{name}/{key}", compression=None) as stream:
                stream.write(content)
        return f"s3://{name}"

    return make


@pytest.fixture(scope="package")
def cluster(s3_server: S3FileSystem) -> Iterator[str]:
    """The address of a cluster of two CPUs on this machine, to which this process is connected."""
    from ctonnx_scale.cluster import ActorResources, connected

    with pytest.MonkeyPatch.context() as patch:
        # Its nodes import the tests from here.
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected(ActorResources(cpus=1, gpus=0, actors=2)):
            import ray

            yield ray.get_runtime_context().gcs_address
