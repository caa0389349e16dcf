"""What goes in and what comes out, over real HTTP."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.tiling.faces import FaceDetector
from tests.serve.conftest import MULTIPART, Service, decoded, encoded, files, multipart, pair, start
from tests.yunet_double import MAGENTA, write_yunet_double


def as_json(photo: bytes, mask: bytes, **more: Any) -> bytes:
    body = {"photo": base64.b64encode(photo).decode(), "mask": base64.b64encode(mask).decode(), **more}
    return json.dumps(body).encode()


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 700), (40, 30)])
def test_both_forms_give_what_the_engine_gives(
    service: Service, engine: RestoreEngine, height: int, width: int
) -> None:
    photo, mask = pair(height, width)
    wanted = engine.run(photo, mask, color="bgr")
    answer = service.restore(encoded(photo), encoded(mask))
    assert answer.headers["Content-Type"] == "image/png"
    assert "repair;dur=" in answer.headers["Server-Timing"]
    assert np.array_equal(answer.image(), wanted.image)
    body = as_json(encoded(photo), encoded(mask), edges=True)
    told = service.ask("POST", "/v1/restore", body, content_type="application/json").json()
    assert np.array_equal(decoded(base64.b64decode(told["image"])), wanted.image)
    assert np.array_equal(decoded(base64.b64decode(told["edges"])), wanted.edges)
    assert (told["width"], told["height"], told["media_type"]) == (width, height, "image/png")
    assert set(told["timings_ms"]) >= {"wait", "decode", "edge", "repair", "encode"}


def test_a_multipart_request_may_ask_for_json(service: Service) -> None:
    answer = service.restore(*files(), accept="application/json", more={"edges": b"true", "format": b"webp"})
    told = answer.json()
    assert told["media_type"] == "image/webp"
    assert decoded(base64.b64decode(told["edges"])).shape == (256, 256)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_formats_of_the_answer(service: Service, kind: str) -> None:
    photo, mask = pair()
    answer = service.restore(encoded(photo), encoded(mask), more={"format": kind.encode()})
    assert answer.headers["Content-Type"] == f"image/{kind}"
    drift = np.abs(answer.image().astype(int) - photo)[mask == 0]
    assert drift.max() == 0 if kind != "jpeg" else 0 < drift.mean() < 4


def test_grey_alpha_and_a_photo_on_its_side(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(300, 200)
    grey = photo[..., 1].copy()
    assert np.array_equal(service.restore(encoded(grey), encoded(mask)).image(), engine(grey, mask))
    four = np.dstack((photo, grey))
    assert np.array_equal(service.restore(encoded(four), encoded(mask)).image()[..., 3], grey)
    refused = service.restore(encoded(four), encoded(mask), more={"format": b"jpeg"})
    assert refused.error == (422, "OutputError")
    # EXIF orientation 6, stored turned to the left: the answer and the mask are upright
    stored = encoded(cv2.rotate(photo, cv2.ROTATE_90_COUNTERCLOCKWISE), ".jpg")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    turned = stored[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + stored[2:]
    assert service.restore(turned, encoded(mask)).image().shape == (300, 200, 3)


def test_a_photo_keeps_its_depth(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(60, 80)
    deep = photo.astype(np.uint16) * 257 + np.uint16(3)  # what 8 bits cannot hold
    answer = service.restore(encoded(deep, ".tiff"), encoded(mask)).image()
    assert answer.dtype == np.uint16
    assert np.array_equal(answer[mask == 0], deep[mask == 0])
    assert np.array_equal(answer[mask > 0] // 257, engine(photo, mask, color="bgr")[mask > 0])
    for kind in (b"jpeg", b"webp"):
        assert service.restore(encoded(deep), encoded(mask), more={"format": kind}).error == (422, "OutputError")


def test_a_photo_keeps_its_profile_and_metadata(service: Service) -> None:
    """Pillow, another reader and writer than ours, finds in the answer what it had put into the photograph."""
    photo, mask = pair(60, 80)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x013B] = "A. Photographer"
    sent = io.BytesIO()
    Image.fromarray(photo[..., ::-1]).save(sent, "JPEG", quality=80, icc_profile=profile, exif=exif)
    for kind in ("png", "jpeg", "webp"):
        answer = service.restore(sent.getvalue(), encoded(mask), more={"format": kind.encode()})
        with Image.open(io.BytesIO(answer.body)) as found:
            assert found.info["icc_profile"] == profile
            assert found.getexif()[0x013B] == "A. Photographer"
    told = service.restore(sent.getvalue(), encoded(mask), accept="application/json").json()
    assert told["notes"] == []


def test_sloppy_masks(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(120, 150)
    wanted = engine(photo, mask, color="bgr", dilate=6, feather=4)
    assert not np.array_equal(wanted, engine(photo, mask, color="bgr"))
    answer = service.restore(encoded(photo), encoded(mask), more={"dilate": b"6", "feather": b"4"})
    assert np.array_equal(answer.image(), wanted)
    body = as_json(encoded(photo), encoded(mask), dilate=6, feather=4)
    told = service.ask("POST", "/v1/restore", body, content_type="application/json").json()
    assert np.array_equal(decoded(base64.b64decode(told["image"])), wanted)


def test_faces_and_fewer_squares(service: Service, engine: RestoreEngine) -> None:
    photo, mask = pair(700, 600)
    mask[340, :] = 255  # a scratch right across, through a small face
    face = [450.0, 300.0, 60.0, 80.5]
    usual, framed = engine.run(photo, mask, color="bgr"), engine.run(photo, mask, color="bgr", faces=[face])
    assert not np.array_equal(framed.image, usual.image)
    answer = service.restore(encoded(photo), encoded(mask), more={"faces": json.dumps([face]).encode()})
    assert np.array_equal(answer.image(), framed.image)
    assert np.array_equal(service.restore(encoded(photo), encoded(mask), more={"faces": b"[]"}).image(), usual.image)
    body = as_json(encoded(photo), encoded(mask), faces=[face], max_crops=2)
    told = service.ask("POST", "/v1/restore", body, content_type="application/json").json()
    wanted = engine.run(photo, mask, color="bgr", faces=[face], max_crops=2)
    assert [crop.to_json() for crop in wanted.crops] == told["crops"]
    assert len(told["crops"]) < len(framed.crops)
    assert np.array_equal(decoded(base64.b64decode(told["image"])), wanted.image)
    empty = dict.fromkeys(("faces", "max_crops", "format"), b"")  # as a form sends what nobody filled in
    assert np.array_equal(service.restore(encoded(photo), encoded(mask), more=empty).image(), usual.image)
    outside = service.restore(encoded(photo), encoded(mask), more={"faces": b"[[900, 2, 30, 40]]"})
    assert outside.error == (422, "InputError")


def test_a_face_detector_of_the_service(
    toy_bundle: Bundle, tmp_path: Path, engine: RestoreEngine, service: Service
) -> None:
    """On a double of YuNet, which finds pure magenta."""
    model = write_yunet_double(tmp_path / "yunet_double.onnx")
    photo = np.full((700, 900, 3), 90, np.uint8)
    photo[320:352, 640:672] = MAGENTA
    mask = np.zeros((700, 900), np.uint8)
    mask[300:306] = 255
    framed = engine(photo, mask, faces=FaceDetector(model))
    usual = engine(photo, mask)
    assert not np.array_equal(framed, usual)
    arguments = ("--port", "0", "--bundle", str(toy_bundle.path), "--batch", "4", "--face-detector", str(model))
    with start("restore_sdk", "serve", *arguments) as seeing:
        assert seeing.ask("GET", "/v1/info").json()["face_detector"] is True
        assert np.array_equal(seeing.restore(encoded(photo), encoded(mask)).image(), framed)
        assert np.array_equal(seeing.restore(encoded(photo), encoded(mask), more={"faces": b"[]"}).image(), usual)
    assert service.ask("GET", "/v1/info").json()["face_detector"] is False


PNG, MASK = files(64, 64)
BOMB = PNG[:16] + (60_000).to_bytes(4, "big") * 2 + PNG[24:]


@pytest.mark.parametrize(
    ("photo", "mask", "error"),
    [
        (b"", MASK, (422, "ImageError")),
        (b"<html>no picture</html>", MASK, (415, "UnknownFormatError")),
        (PNG, b"GIF89a", (415, "UnknownFormatError")),
        (PNG[: len(PNG) // 2], MASK, (422, "ImageError")),
        (BOMB, MASK, (413, "TooManyPixelsError")),
        (PNG, BOMB, (413, "TooManyPixelsError")),
        (PNG, encoded(np.zeros((64, 64), np.uint8)), (422, "MaskError")),
        (PNG, encoded(np.full((64, 64), 255, np.uint8)), (422, "MaskError")),
        (PNG, encoded(np.full((64, 64), 1, np.uint8)), (422, "MaskError")),
        (PNG, encoded(np.full((64, 63), 255, np.uint8)), (422, "ShapeError")),
        (PNG, encoded(np.zeros((64, 64, 4), np.uint8)), (422, "MaskError")),
    ],
    ids=["empty", "html", "gif", "half", "bomb", "bombmask", "black", "white", "ones", "size", "clear"],
)
def test_files_that_cannot_be_used(service: Service, photo: bytes, mask: bytes, error: tuple[int, str]) -> None:
    assert service.restore(photo, mask).error == error
    assert service.ask("POST", "/v1/restore", as_json(photo, mask), content_type="application/json").error == error


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("", b"x", (415, "UnsupportedMediaType")),
        ("text/plain", b"x", (415, "UnsupportedMediaType")),
        ("image/png", PNG, (415, "UnsupportedMediaType")),
        ("multipart/form-data", b"x", (400, "BadMultipart")),
        (MULTIPART, b"no boundary in it", (400, "BadMultipart")),
        (MULTIPART, multipart({"photo": PNG, "mask": MASK})[:-40], (422, "BadRequest")),
        (MULTIPART, multipart({"photo": PNG}), (422, "BadRequest")),
        (MULTIPART, multipart({"photo": PNG, "mask": MASK, "third": PNG}), (400, "BadMultipart")),
        (MULTIPART, multipart({"photo": PNG, "picture": MASK}), (422, "BadRequest")),
        ("application/json", b"", (400, "BadJson")),
        ("application/json", b'{"photo": ', (400, "BadJson")),
        ("application/json", b"[" * 100_000, (400, "BadJson")),
        ("application/json", b"\xff\xfe", (400, "BadJson")),
        ("application/json", b"[]", (422, "BadRequest")),
        ("application/json", b'{"photo": 1, "mask": 2}', (422, "BadRequest")),
        ("application/json", b'{"photo": "%%%", "mask": ""}', (422, "BadRequest")),
        ("application/json", as_json(PNG, MASK, format="gif"), (422, "BadRequest")),
        ("application/json", as_json(PNG, MASK, colour="red"), (422, "BadRequest")),
        ("application/json", as_json(PNG, MASK, dilate=-1), (422, "BadRequest")),
        ("application/json", as_json(PNG, MASK, feather=1.5), (422, "BadRequest")),
    ],
    ids=lambda value: repr(value)[:30] if isinstance(value, str) else None,
)
def test_bodies_that_cannot_be_read(service: Service, kind: str, body: bytes, error: tuple[int, str]) -> None:
    answer = service.ask("POST", "/v1/restore", body, content_type=kind)
    assert answer.error == error
    assert b"Traceback" not in answer.body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", b"gif"),
        ("edges", b"perhaps"),
        ("format", b"x" * 2000),
        ("colour", b"red"),
        ("dilate", b"1025"),
        ("feather", b"-1"),
        ("feather", "\u0661".encode()),
        ("feather", b"1.5"),
        ("max_crops", b"0"),
        ("max_crops", b"65"),
        ("faces", b"1, 2, 3, 4"),
        ("faces", b"[" * 3000),
        ("faces", b"[[1, 2, 3]]"),
        ("faces", b'[["a", 2, 3, 4]]'),
        ("faces", b"[[NaN, 2, 3, 4]]"),
        ("faces", b"[[1, 2, 0, 4]]"),
        ("faces", json.dumps([[1, 2, 3, 4]] * 65).encode()),
    ],
)
def test_fields_that_are_wrong(service: Service, field: str, value: bytes) -> None:
    assert service.restore(PNG, MASK, more={field: value}).error[0] in (400, 422)


def test_other_paths_and_methods(service: Service) -> None:
    assert service.ask("GET", "/nothing").error == (404, "HttpError")
    assert service.ask("GET", "/v1/restore").error == (405, "HttpError")
    for path in ("/healthz", "/readyz", "/metrics", "/v1/info"):
        head = service.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
    assert service.ask("HEAD", "/v1/restore").status == 405
    assert service.ask("GET", "/docs").error == (404, "HttpError")  # it would load scripts from elsewhere
    assert service.ask("GET", "/page/../../cli.py").error[0] == 404


def test_the_description_has_every_status_and_examples_that_work(service: Service) -> None:
    described = service.ask("GET", "/openapi.json").json()
    post = described["paths"]["/v1/restore"]["post"]
    documented = set(post["responses"])
    assert documented == {"200", *["400", "401", "403", "408", "413", "415", "421", "422", "500", "503", "504"]}
    content = post["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    for example in content["application/json"]["examples"].values():
        answer = service.ask("POST", "/v1/restore", json.dumps(example["value"]), content_type="application/json")
        assert answer.status == 200, answer.body
        schema = post["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(answer.json()) == set(schema["required"])


def test_info(service: Service) -> None:
    facts = service.ask("GET", "/v1/info").json()
    assert (facts["model"]["name"], facts["runtime"]) == ("toy", "onnxruntime")
    assert facts["limits"]["pixels"] == 25_000_000
    assert "path" not in json.dumps(facts)
