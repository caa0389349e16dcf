"""What goes in and what comes out, over real HTTP."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from restore_sdk import RestoreEngine
from tests.child import ROOT, python
from tests.docs.pages import assert_restored
from tests.serve.conftest import JSON, MULTIPART, Service, decoded, encoded, files, form, pair, part


@pytest.mark.parametrize(("height", "width"), [(300, 700), (40, 30)])
def test_both_answers_give_what_the_engine_gives(
    service: Service, engine: RestoreEngine, height: int, width: int
) -> None:
    photo, mask = pair(height, width)
    wanted = engine.run(photo, mask, color="bgr")
    answer = service.restore(encoded(photo), encoded(mask))
    assert answer.headers["Content-Type"] == "image/png"
    assert "repair;dur=" in answer.headers["Server-Timing"]
    assert np.array_equal(answer.image(), wanted.image)
    told = service.restore_json(encoded(photo), encoded(mask), edges=b"true")
    assert np.array_equal(decoded(told["image"]), wanted.image)
    assert np.array_equal(decoded(told["edges"]), wanted.edges)
    assert (told["width"], told["height"], told["media_type"]) == (width, height, "image/png")
    assert set(told["timings_ms"]) >= {"wait", "decode", "edge", "repair", "encode"}


@pytest.mark.parametrize("kind", ["jpeg", "webp", "tiff"])
def test_formats_of_the_answer(service: Service, kind: str) -> None:
    photo, mask = pair()
    answer = service.restore(encoded(photo), encoded(mask), format=kind.encode())
    assert answer.headers["Content-Type"] == f"image/{kind}"
    drift = np.abs(answer.image().astype(int) - photo)[mask == 0]
    assert drift.max() == 0 if kind != "jpeg" else 0 < drift.mean() < 4


def test_grey_alpha_and_sixteen_bits(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(60, 80)
    grey = photo[..., 1].copy()
    assert np.array_equal(service.restore(encoded(grey), encoded(mask)).image(), engine(grey, mask))
    four = np.dstack((photo, grey))
    assert np.array_equal(service.restore(encoded(four), encoded(mask)).image()[..., 3], grey)
    deep = photo.astype(np.uint16) * 257 + np.uint16(3)  # what 8 bits cannot hold
    answer = service.restore(encoded(deep, ".tiff"), encoded(mask)).image()
    assert answer.dtype == np.uint16
    assert np.array_equal(answer[mask == 0], deep[mask == 0])
    assert np.array_equal(answer[mask > 0] // 257, engine(photo, mask, color="bgr")[mask > 0])
    for lost in (four, deep):
        assert service.restore(encoded(lost), encoded(mask), format=b"jpeg").error == (422, "OutputError")


def test_metadata_is_kept(service: Service) -> None:
    photo, mask = pair(60, 80)
    exif = Image.Exif()
    exif[0x013B] = "A. Photographer"
    sent = io.BytesIO()
    Image.fromarray(photo[..., ::-1]).save(sent, "JPEG", exif=exif)
    told = service.restore_json(sent.getvalue(), encoded(mask))
    assert told["notes"] == []
    with Image.open(io.BytesIO(base64.b64decode(told["image"]))) as found:
        assert found.getexif()[0x013B] == "A. Photographer"


def test_options(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(700, 600)
    mask[340, :] = 255  # a scratch right across, through a small face
    face = [450.0, 300.0, 60.0, 80.5]
    sent = encoded(photo), encoded(mask)
    usual = engine(photo, mask, color="bgr")
    for texts, options in (
        ({"dilate": b"6", "feather": b"4"}, {"dilate": 6, "feather": 4}),
        ({"detail": b"none"}, {"detail": "none"}),
        ({"faces": json.dumps([face]).encode()}, {"faces": [face]}),
        ({"faces": json.dumps([face]).encode(), "max_crops": b"2"}, {"faces": [face], "max_crops": 2}),
    ):
        wanted = engine.run(photo, mask, color="bgr", **options)  # type: ignore[arg-type]
        assert not np.array_equal(wanted.image, usual)
        told = service.restore_json(*sent, **texts)
        assert np.array_equal(decoded(told["image"]), wanted.image)
        assert told["crops"] == [crop.to_json() for crop in wanted.crops]
        assert told["detail"] == wanted.detail
    for plain in (
        {"faces": b"[]"},
        {"faces": b"auto"},
        dict.fromkeys(("faces", "max_crops", "format"), b""),
    ):  # a form sends what is empty
        assert np.array_equal(service.restore(*sent, **plain).image(), usual)
    assert service.restore(*sent, faces=b"[[900, 2, 30, 40]]").error == (422, "InputError")


def test_options_are_fields_of_the_body_and_nothing_else(service: Service) -> None:
    body = form(photo=files()[0], mask=files()[1])
    answer = service.ask("POST", "/v1/restore?dilate=4", body, content_type=MULTIPART)
    assert answer.error == (422, "BadRequest")
    assert "curl -F" in answer.json()["error"]["hint"]


def test_an_odd_mask_is_noted(service: Service) -> None:
    photo, mask = pair()
    assert "marks 96% of the picture" in service.restore_json(encoded(photo), encoded(255 - mask))["notes"][0]
    assert service.restore_json(encoded(photo), encoded(mask))["notes"] == []


PNG, MASK = files(64, 64)
HEAD = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + PNG[24:29]
BOMB = PNG[:12] + HEAD + zlib.crc32(HEAD).to_bytes(4, "big") + PNG[33:]


@pytest.mark.parametrize(
    ("photo", "mask", "error"),
    [
        (b"", MASK, (422, "ImageError")),
        (b"<html>no picture</html>", MASK, (415, "UnknownFormatError")),
        (PNG[: len(PNG) // 2], MASK, (422, "ImageError")),
        (BOMB, MASK, (413, "TooManyPixelsError")),
        (PNG, BOMB, (413, "TooManyPixelsError")),
        (PNG, encoded(np.zeros((64, 64), np.uint8)), (422, "MaskError")),
        (PNG, encoded(np.full((64, 63), 255, np.uint8)), (422, "ShapeError")),
    ],
    ids=["empty", "html", "half", "bomb", "bombmask", "black", "size"],
)
def test_files_that_cannot_be_used(service: Service, photo: bytes, mask: bytes, error: tuple[int, str]) -> None:
    assert service.restore(photo, mask).error == error


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("", b"x", (415, "UnsupportedMediaType")),
        ("multipart/form-data", b"x", (400, "BadMultipart")),
        (MULTIPART, b"no boundary in it", (400, "BadMultipart")),
        (MULTIPART, form(photo=PNG, mask=MASK)[:-40], (422, "BadRequest")),
        (MULTIPART, form(photo=PNG), (422, "BadRequest")),
        (MULTIPART, form(part(b"photo", b"photo.png"), mask=MASK), (422, "BadRequest")),  # curl -F photo=photo.png
        (JSON, b"{}", (415, "UnsupportedMediaType")),
    ],
    ids=range(7),
)
def test_bodies_that_cannot_be_read(service: Service, kind: str, body: bytes, error: tuple[int, str]) -> None:
    answer = service.post(body, kind)
    assert answer.error == error
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", b"gif"),
        ("edges", b"perhaps"),
        ("colour", b"red"),
        ("dilate", b"1025"),
        ("feather", b"-1"),
        ("max_crops", b"0"),
        ("faces", b"1, 2, 3, 4"),
        ("faces", b"[" * 3000),
        ("faces", b"[[NaN, 2, 3, 4]]"),
        ("faces", b"[[1, 2, 0, 4]]"),
        ("faces", b"none"),
        ("faces", json.dumps([[1, 2, 3, 4]] * 65).encode()),
    ],
)
def test_fields_that_are_wrong(service: Service, field: str, value: bytes) -> None:
    answer = service.restore(PNG, MASK, **{field: value})
    assert answer.error[0] == 422
    assert field in answer.json()["error"]["message"] or answer.error[1] == "InputError"
    assert "auto" not in answer.json()["error"]["message"]  # of boxes it says what is wrong with them


def test_other_paths_and_methods(service: Service) -> None:
    for path in ("/nothing", "/page/../../cli.py", "/page/nothing", "/docs"):  # /docs would load scripts from elsewhere
        assert service.ask("GET", path).error == (404, "HttpError")
    assert service.ask("GET", "/v1/restore").error == (405, "HttpError")
    assert service.ask("HEAD", "/v1/restore").status == 405
    for path in ("/healthz", "/readyz", "/metrics", "/v1/info", "/"):
        head = service.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")


def test_the_service_describes_itself(service: Service) -> None:
    described = service.ask("GET", "/openapi.json").json()
    assert set(described["paths"]) == {"/v1/restore", "/v1/damage", "/v1/info", "/healthz", "/readyz", "/metrics"}
    post = described["paths"]["/v1/restore"]["post"]
    statuses = {200, 400, 401, 403, 408, 413, 415, 421, 422, 500, 503, 504}
    assert set(post["responses"]) == set(map(str, statuses))
    content = post["requestBody"]["content"]
    assert set(content) == {"multipart/form-data"}
    schema = described["components"]["schemas"]["RestoreResponse"]
    assert set(service.restore_json(*files())) == set(schema["required"])
    facts = service.ask("GET", "/v1/info").json()
    assert (facts["model"]["name"], facts["runtime"]) == ("toy", "onnxruntime")
    assert {"png", "jpeg", "tiff"} <= set(facts["limits"].pop("formats"))
    assert facts["limits"] == {"body_bytes": 32 << 20, "pixels": 25_000_000, "requests": 64, "seconds": 60.0}
    assert "path" not in json.dumps(facts)


def test_the_example_client(service: Service, tmp_path: Path) -> None:
    def ask(*arguments: object) -> subprocess.CompletedProcess[str]:
        return python(ROOT / "examples" / "ask_service.py", *arguments, cwd=tmp_path, timeout=60)

    done = ask(service.url)
    assert done.returncode == 0, done.stderr
    assert_restored(tmp_path / "restored.png")
    portrait = ROOT / "examples" / "portrait.png"
    refused = ask(service.url, portrait, ROOT / "README.md", "out.png")
    assert refused.returncode == 1
    assert refused.stderr.startswith("415: the mask is no image of a known format")
    assert "cannot read none.png" in ask(service.url, "none.png", portrait, "out.png").stderr
    assert "no service at" in ask("http://127.0.0.1:9").stderr
