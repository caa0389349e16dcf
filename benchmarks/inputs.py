"""What the subjects are given, and what the right answer is: the PyTorch reference's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.processes import MASK, ROOT
from benchmarks.subjects import TorchRunner
from restore_sdk.bundle import Bundle
from restore_sdk.engine import RestoreEngine
from restore_sdk.files import read_mask, read_photo
from restore_sdk.imaging.image import HOLE_ABOVE, canny_edges
from restore_sdk.imaging.quality import psnr
from restore_sdk.runtime.base import U8

PORTRAIT = ROOT / "examples" / "portrait.png"

#: Photographs that are measured, width and height in px; the last has 12 megapixels.
SIZES = ((256, 256), (512, 512), (1024, 1024), (2048, 2048), (4000, 3000))

#: Images a request.
BATCHES = (1, 2, 4, 8, 16)

#: Least PSNR in dB of a right answer against the reference; the gate of ``restore-sdk bench``.
LEAST_DB = 45.0


@dataclass(frozen=True)
class Damaged:
    """A photograph ``(H, W, 3)`` RGB with a mask ``(H, W)``, white is hole; both ``uint8``."""

    photo: U8
    mask: U8

    @property
    def edges(self) -> U8:
        """Canny edges of the known part, as a stage of the model takes them."""
        return canny_edges(self.photo, self.mask > HOLE_ABOVE)

    def batch(self, count: int) -> tuple[U8, U8, U8]:
        """What the two stages take, so many times; the photograph must have the model's size."""
        return tuple(np.repeat(each[None], count, axis=0) for each in (self.photo, self.mask, self.edges))  # type: ignore[return-value]


def portrait() -> Damaged:
    """The example photograph with the example's mask, 256 x 256 px."""
    return Damaged(np.ascontiguousarray(read_photo(PORTRAIT)[..., ::-1]), read_mask(MASK))


def enlarged(width: int, height: int, hole: tuple[int, int] = (120, 100)) -> Damaged:
    """The example photograph scaled to a size, with one elliptic hole of ``hole`` (width, height) px in its middle."""
    photo = cv2.resize(portrait().photo, (width, height), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (hole[0] // 2, hole[1] // 2), 0, 0, 360, 255, -1)
    return Damaged(photo, mask)


def reference_engine(bundle: Bundle) -> RestoreEngine:
    """The SDK's host work around the PyTorch reference: what a whole request must answer."""
    return RestoreEngine(runtime=TorchRunner(bundle))


def require_known(damaged: Damaged, restored: U8) -> None:
    """Raise ``AssertionError`` unless every known pixel is as it was, and the hole is not."""
    known = damaged.mask <= HOLE_ABOVE
    assert restored.shape == damaged.photo.shape, f"{restored.shape} is not the photograph's {damaged.photo.shape}"
    assert np.array_equal(restored[known], damaged.photo[known]), "known pixels were changed"
    assert not np.array_equal(restored[~known], damaged.photo[~known]), "the hole was left as it was"


def require_close(right: U8, found: U8, least: float = LEAST_DB) -> None:
    """Raise ``AssertionError`` where ``found`` is beyond the gate from the right answer."""
    value = psnr(right, found)
    assert value >= least, f"{value:.1f} dB from the right answer, the gate is {least:g} dB"
