"""What all tests share: GPU tests skip themselves without a CUDA device; how to call without checked annotations."""

import jaxtyping
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the GPU tests on machines without one; torch is imported only if there are such tests."""
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
