"""What all tests share: order, a Ray cluster, own features, GPU tests that skip themselves, unchecked calls."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import jaxtyping
import pytest
from heavy_files import heaviest_first
from scripts import child_environment


@pytest.fixture(scope="session")
def features_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every test has a folder of its own."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(autouse=True)
def own_features(features_of_tests: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What encoders saw is kept for this test and no longer; other processes inherit the place."""
    place = sha256(request.node.nodeid.encode()).hexdigest()[:12]
    monkeypatch.setenv("LIKENESS_FEATURES", str(features_of_tests / place))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster to which this process is connected: 4 cores and 2 GPUs, which are only pretended.

    Starting it takes seconds, once in each process that runs tests with it.
    """
    ray = pytest.importorskip("ray")
    from likeness.core.ray_jobs import SETTINGS

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**SETTINGS, "PYTHONPATH": child_environment()["PYTHONPATH"]}.items():
            patch.setenv(name, value)  # workers inherit it
        quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
        ray.init("local", num_cpus=4, num_gpus=2, object_store_memory=100 * 2**20, **quiet)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The heaviest files first; GPU tests skipped on machines without one. torch is imported only if there are any."""
    items[:] = heaviest_first(items)
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No annotation is checked: for what the package itself says of wrong shapes.

    Also for judges and models that are not there: before Python 3.12 `isinstance` with a protocol asks for their `id`.
    """
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
