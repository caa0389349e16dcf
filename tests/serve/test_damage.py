"""``POST /v1/damage``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from tests.damage.conftest import scratched
from tests.serve.conftest import JSON, MULTIPART, Answer, Service, decoded, encoded, form, start


@pytest.fixture(scope="module")
def seeing(seeing_bundle: Bundle) -> Iterator[Service]:
    with start("restore_sdk", "serve", "--port", "0", "--bundle", str(seeing_bundle.path)) as service:
        yield service


def ask(service: Service, body: bytes, **headers: str) -> Answer:
    return service.ask("POST", "/v1/damage", body, content_type=MULTIPART, **headers)


def test_the_mask_is_what_the_engine_finds(seeing: Service, seeing_bundle: Bundle) -> None:
    picture = scratched(300, 400, (50, 20, 56, 220), level=170)
    photo = encoded(np.ascontiguousarray(picture[..., ::-1]))
    with RestoreEngine(seeing_bundle) as engine:
        wanted = engine.find_damage(picture, sensitivity="high")
    answer = ask(seeing, form(photo=photo, sensitivity=b"high"))
    assert answer.headers["Content-Type"] == "image/png"
    assert wanted.share > 0
    assert float(answer.headers["Damage-Share"]) == pytest.approx(wanted.share, abs=1e-6)
    assert np.array_equal(answer.image(), wanted.mask)
    told = ask(seeing, form(photo=photo), accept=JSON).json()
    assert told["share"] == 0  # not certain enough
    assert not decoded(told["image"]).any()
    assert seeing.ask("GET", "/v1/info").json()["damage"] is True


def test_what_is_refused(seeing: Service, service: Service) -> None:
    photo = encoded(scratched(20, 20))
    assert ask(service, form(photo=photo)).error == (501, "NoDamageStage")
    assert ask(seeing, form(photo=photo, mask=photo)).error == (422, "BadRequest")
    assert ask(seeing, form(photo=photo, sensitivity=b"very")).error == (422, "BadRequest")
    assert ask(seeing, form(photo=b"no picture")).error == (415, "UnknownFormatError")
    assert ask(seeing, form(photo=photo)).status == 200
