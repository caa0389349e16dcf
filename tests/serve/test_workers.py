"""The workers by themselves, without HTTP: what readiness says of a model that fails, and what is logged."""

from __future__ import annotations

import pytest

from restore_sdk.errors import ExecutionError, InputError
from restore_sdk.serve import workers as workers_module
from restore_sdk.serve.body import Asked, Wishes
from restore_sdk.serve.metrics import Metrics
from restore_sdk.serve.settings import Settings
from restore_sdk.serve.workers import Workers
from tests.serve.conftest import files


def test_a_model_that_fails_shows_in_readiness_until_it_works_again() -> None:
    """On a double of the engine, whose model fails for as long as it is told to."""

    class Double:
        trouble: Exception | None = ExecutionError("out of order", "wait")

        def run(self, *_: object, **__: object) -> None:
            assert self.trouble is not None
            raise self.trouble

        def warmup(self) -> float:
            if self.trouble is not None:
                raise self.trouble
            return 1.0

    engine = Double()
    workers = Workers(engine, Settings(workers=1), Metrics())  # type: ignore[arg-type]
    try:
        photo, mask = files(40, 50)

        def fail() -> None:
            assert isinstance(workers.submit(Asked(photo, mask, Wishes()), 2000).exception(30), Exception)

        assert workers.healthy
        fail()
        assert not workers.healthy
        engine.trouble = ValueError("a fault of ours, which says nothing of the model")
        fail()
        workers.probe()
        assert not workers.healthy
        engine.trouble = None
        workers.probe()
        assert workers.healthy
    finally:
        workers.close()


def test_a_fault_that_no_photograph_is_to_blame_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers(None, Settings(workers=1), Metrics())  # type: ignore[arg-type]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workers_module, "decode_photo", lambda *_: 1 / 0)
            error = workers.submit(Asked(*files(40, 50), Wishes()), 2000).exception(30)
        assert isinstance(error, ZeroDivisionError)
        (record,) = [each for each in caplog.records if each.exc_info is not None]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert isinstance(workers.submit(Asked(b"", b"", Wishes()), 2000).exception(30), InputError)
        assert len([each for each in caplog.records if each.exc_info is not None]) == 1
    finally:
        workers.close()
