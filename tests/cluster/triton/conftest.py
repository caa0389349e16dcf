"""A Triton server on the toy bundle, for all tests that ask one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from restore_sdk.bundle import Bundle
from restore_sdk.cluster.triton_config import Serving
from restore_sdk.cluster.triton_repository import write_repository
from tests.cluster.triton.server import Server, installed, serving
from tests.cuda_double.build import CannotBuildError
from tests.needs import unavailable


@pytest.fixture(scope="session")
def server(toy_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The repository as ``restore-sdk triton`` writes it, with a little patience for company."""
    try:
        installed()
    except CannotBuildError as error:
        unavailable(f"no Triton server here: {error}")
    scratch = tmp_path_factory.mktemp("triton")
    write_repository(scratch / "models", toy_bundle, serving=Serving(queue_delay_us=5000))
    with serving(scratch / "models", scratch) as server:
        yield server
