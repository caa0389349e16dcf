import io
import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from restore_sdk.errors import ImageError, MaskError, OutputError
from restore_sdk.files import check_output, read_mask, read_photo, write_image
from restore_sdk.files.formats.header import read_header

LOSSLESS = [".png", ".webp", ".bmp", ".tiff", ".tif"]


def encode(picture: NDArray[np.uint8], suffix: str) -> bytes:
    return cv2.imencode(suffix, picture)[1].tobytes()  # type: ignore[no-any-return]


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be a picture of any size: a decompression bomb's header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_round_trip(tmp_path: Path, photo: NDArray[np.uint8], suffix: str, channels: tuple[int, ...]) -> None:
    picture = photo[:100] if channels else photo[:100, :, 0]
    write_image(tmp_path / f"a{suffix}", picture)
    back = read_photo(tmp_path / f"a{suffix}")
    if suffix == ".webp" and not channels:  # WebP has no grey
        back = back[..., 0]
    assert np.array_equal(back, picture)
    assert os.listdir(tmp_path) == [f"a{suffix}"]


def test_alpha_is_kept_or_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    picture = np.dstack((photo, photo[..., 0]))
    clear = picture.copy()
    clear[:9, :9, 3] = 0
    for name, each in (("a.png", picture), ("a.webp", picture), ("clear.png", clear)):
        write_image(tmp_path / name, each)
        assert np.array_equal(read_photo(tmp_path / name), each)
    with pytest.raises(OutputError, match=r"transparent pixels.*\.png"):  # whose colours the encoder would choose
        write_image(tmp_path / "clear.webp", clear)
    for suffix in (".jpg", ".jpeg", ".bmp", ".tiff"):
        with pytest.raises(OutputError, match=r"alpha.*\.png"):
            write_image(tmp_path / f"b{suffix}", picture)


def test_a_tiff_with_alpha_is_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    """OpenCV would multiply its colours by alpha: pixels outside the hole would change."""
    Image.fromarray(np.dstack((photo, photo[..., 0]))).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="TIFF with alpha"):
        read_photo(tmp_path / "a.tif")


def test_jpeg_is_written_well(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    smooth = cv2.GaussianBlur(photo, (0, 0), 3)
    write_image(tmp_path / "a.JPG", smooth)
    assert np.abs(read_photo(tmp_path / "a.JPG").astype(int) - smooth).mean() < 1.5


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tiff"])
def test_headers(photo: NDArray[np.uint8], suffix: str) -> None:
    header = read_header(encode(photo[:77, :55], suffix))
    assert header is not None
    assert (header.width, header.height) == (55, 77)
    assert header.format == {"jpg": "jpeg"}.get(suffix[1:], suffix[1:])


@pytest.mark.parametrize("options", [{}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}], ids=["plain", "extended"])
@pytest.mark.parametrize("lossless", [True, False])
def test_webp_headers(lossless: bool, options: dict[str, bytes]) -> None:
    data = io.BytesIO()
    Image.new("RGB", (55, 77)).save(data, "WEBP", lossless=lossless, **options)
    header = read_header(data.getvalue())
    assert header is not None
    assert (header.width, header.height) == (55, 77)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_photos_are_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """As a viewer shows them, by the independent judgement of Pillow."""
    from PIL import ImageOps

    corners = np.zeros((32, 48, 3), np.uint8)
    corners[:16, :16], corners[:16, -16:], corners[-16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(corners).save(tmp_path / "a", kind, exif=exif, **options)
    with Image.open(tmp_path / "a") as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    upright = read_photo(tmp_path / "a")[..., ::-1]
    assert upright.shape == expected.shape
    assert np.abs(upright.astype(int) - expected).max() < 12


def test_other_kinds_of_png(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    for mode, shape in (("P", (256, 256, 3)), ("1", (256, 256)), ("LA", (256, 256, 4))):
        Image.fromarray(photo).convert(mode).save(tmp_path / "a.png")
        picture = read_photo(tmp_path / "a.png")
        assert picture.shape == shape
        assert picture.dtype == np.uint8


def test_sixteen_bits(tmp_path: Path, photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Masks of any depth are masks; photographs want the function that keeps their depth."""
    for suffix in (".png", ".tiff"):
        write_image(tmp_path / f"m{suffix}", mask.astype(np.uint16) * 257)
        assert np.array_equal(read_mask(tmp_path / f"m{suffix}"), mask)
        with pytest.raises(ImageError, match=r"16 bits.*open_photo"):
            read_photo(tmp_path / f"m{suffix}")
    for suffix in (".jpg", ".webp", ".bmp"):
        with pytest.raises(OutputError, match=r"16 bits.*\.png"):
            write_image(tmp_path / f"a{suffix}", photo.astype(np.uint16))


@pytest.mark.parametrize(("read", "kind"), [(read_photo, ImageError), (read_mask, MaskError)])
class TestFilesThatAreRefused:
    """Each with one line that names the file and one that says what to do."""

    def refused(self, read: object, kind: type[Exception], path: Path, message: str) -> None:
        with pytest.raises(kind, match=message) as caught:
            read(path)  # type: ignore[operator]
        assert str(path) in str(caught.value)
        assert str(caught.value).count(str(path)) == 1  # not an error in an error
        assert caught.value.hint  # type: ignore[attr-defined]

    def test_missing(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        self.refused(read, kind, tmp_path / "no.png", "does not exist")
        self.refused(read, kind, tmp_path / "no" / "no.png", "does not exist")

    def test_folder_or_pipe(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        self.refused(read, kind, tmp_path, "no plain file")
        os.mkfifo(tmp_path / "pipe")
        self.refused(read, kind, tmp_path / "pipe", "no plain file")

    def test_empty(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        (tmp_path / "a.png").touch()
        self.refused(read, kind, tmp_path / "a.png", "empty file")

    def test_unreadable(
        self, read: object, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.png").write_bytes(b"x")
        (tmp_path / "a.png").chmod(0)
        if os.geteuid() == 0:  # root may read anything: let the system say what it says to others

            def denied(*_: object) -> None:
                raise PermissionError(13, "Permission denied")

            monkeypatch.setattr(Path, "open", denied)
        self.refused(read, kind, tmp_path / "a.png", "Permission denied")

    @pytest.mark.parametrize("data", [b"hello", b"GIF89a" + bytes(50), b"%PDF-1.7", bytes(1000), b"\x89PNG\r\n\x1a\n"])
    def test_no_image(self, read: object, kind: type[Exception], tmp_path: Path, data: bytes) -> None:
        (tmp_path / "a.png").write_bytes(data)
        self.refused(read, kind, tmp_path / "a.png", "known format")

    @pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
    @pytest.mark.parametrize("share", [0.5, 0.98])
    def test_truncated(
        self, read: object, kind: type[Exception], tmp_path: Path, photo: NDArray[np.uint8], suffix: str, share: float
    ) -> None:
        data = encode(photo, suffix)
        (tmp_path / "a").write_bytes(data[: int(share * len(data))])
        self.refused(read, kind, tmp_path / "a", "damaged or truncated|cannot be decoded")

    def test_float(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(encode(np.zeros((9, 9), np.float32), ".tiff"))  # type: ignore[arg-type]
        self.refused(read, kind, tmp_path / "a", "only 8 and 16 bits")

    def test_bombs_are_not_decoded(
        self, read: object, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
        (tmp_path / "a.png").write_bytes(png_claiming(20_000, 20_000))
        self.refused(read, kind, tmp_path / "a.png", "20000 x 20000 px.*100 MP")
        (tmp_path / "a.png").write_bytes(png_claiming(2**31 - 1, 2**31 - 1))
        self.refused(read, kind, tmp_path / "a.png", "MP")

    def test_a_huge_file_is_not_read(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        with (tmp_path / "a.png").open("wb") as file:
            file.truncate(1 << 33)  # sparse
        self.refused(read, kind, tmp_path / "a.png", "bytes")

    def test_animated(self, read: object, kind: type[Exception], tmp_path: Path) -> None:
        frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
        for suffix in ("png", "webp"):
            frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
            self.refused(read, kind, tmp_path / f"a.{suffix}", "animated")


def test_fill_bytes_before_a_jpeg_marker(photo: NDArray[np.uint8]) -> None:
    data = encode(photo, ".jpg")
    started = time.process_time()
    filled = read_header(data[:2] + b"\xff" * (1 << 26) + data[2:])
    assert read_header(data[:2] + b"\xff" * (1 << 26)) is None
    assert time.process_time() - started < 2
    assert filled == read_header(data)


def test_endless_parts_before_the_pixels_are_not_read(photo: NDArray[np.uint8]) -> None:
    """Empty chunks and segments by the million; a file may have 512 MB of them."""
    png, jpeg = encode(photo, ".png"), encode(photo, ".jpg")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0"
    extended = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0" + b"\x08\0\0" * 2
    last = b"EXIF" + struct.pack("<I", len(exif)) + exif
    for many, found in ((100, True), (20_000, False)):
        assert (read_header(png[:33] + b"\0\0\0\0tEXt\0\0\0\0" * many + png[33:]) is not None) == found
        assert (read_header(jpeg[:2] + b"\xff\xfe\0\2" * many + jpeg[2:]) is not None) == found
        header = read_header(extended + b"junk\0\0\0\0" * many + last)
        assert header is not None
        assert (header.orientation == 6) == found


def test_the_limit_is_a_parameter(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    write_image(tmp_path / "a.png", photo)
    assert read_photo(tmp_path / "a.png", max_pixels=256 * 256).shape == (256, 256, 3)
    with pytest.raises(ImageError, match="limit"):
        read_photo(tmp_path / "a.png", max_pixels=256 * 256 - 1)


def test_masks_become_grey(tmp_path: Path, mask: NDArray[np.uint8]) -> None:
    opaque = np.dstack([mask] * 3 + [np.full_like(mask, 255)])
    for picture in (mask, np.dstack([mask] * 3), opaque):
        write_image(tmp_path / "m.png", picture)
        assert np.array_equal(read_mask(tmp_path / "m.png"), mask)
    write_image(tmp_path / "m.png", np.dstack([mask] * 4))
    with pytest.raises(MaskError, match="transparent"):
        read_mask(tmp_path / "m.png")


def test_outputs_that_are_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    write_image(tmp_path / "a.png", photo)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "hard.png").hardlink_to(tmp_path / "a.png")
    for name in ("a.png", "link.png", "hard.png", "../" + tmp_path.name + "/a.png"):
        with pytest.raises(OutputError, match="is the input"):
            check_output(tmp_path / name, tmp_path / "a.png")
    for name in ("b.gif", "b", "b.png.exe", ".png"):
        with pytest.raises(OutputError, match="unknown extension"):
            check_output(tmp_path / name)
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "no" / "b.png")
    check_output(tmp_path / "b.png", tmp_path / "a.png")
    assert not (tmp_path / "b.png").exists()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_hostile_headers_do_no_harm(data: st.DataObject) -> None:
    """Real files with some bytes changed, and pure noise: a header or none, quickly, and never an exception."""
    suffix = data.draw(st.sampled_from([".png", ".jpg", ".webp", ".bmp", ".tiff"]))
    encoded = bytearray(encode(np.zeros((16, 16, 3), np.uint8), suffix))
    for _ in range(data.draw(st.integers(0, 6))):
        encoded[data.draw(st.integers(0, min(199, len(encoded) - 1)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    for sample in (bytes(encoded), bytes(encoded[:cut]), bytes(encoded[:4]) + data.draw(st.binary(max_size=64))):
        header = read_header(sample)
        if header is not None:
            assert header.width > 0
            assert header.height > 0
            assert 1 <= header.orientation <= 8
