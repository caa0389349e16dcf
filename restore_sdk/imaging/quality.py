"""How good a restored image is, and how far one runtime's result is from another's. Plain numpy and OpenCV."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import ShapeError

#: Side of SSIM's uniform window.
SSIM_WINDOW = 7


def psnr(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(255^2 / MSE)``; infinite for equal arrays.

    The mean square error is taken over all elements. Both arrays are ``uint8`` of one shape, any number of axes.
    """
    _check(reference, image)
    return _decibel(float(np.mean(np.square(reference.astype(np.float32) - image), dtype=np.float64)))


def l1(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Mean absolute difference as a share of full scale: ``mean |a - b| / 255``, in 0..1.

    Both arrays are ``uint8`` of one shape, any number of axes.
    """
    _check(reference, image)
    return float(np.mean(np.abs(reference.astype(np.int16) - image), dtype=np.float64)) / 255


def ssim(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Structural similarity, in -1..1, averaged over pixels and channels.

    ``(2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2))`` with means, variances and covariance (of a
    sample: N / (N - 1)) over 7 x 7 uniform windows, ``C1 = (0.01 * 255)^2``, ``C2 = (0.03 * 255)^2``; windows that
    leave the image are not counted. These are the defaults of ``skimage.metrics.structural_similarity`` with
    ``channel_axis=-1``.

    Both arrays are ``uint8``, ``(H, W)`` or ``(H, W, C)``, at least 7 x 7.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE Transactions on Image Processing 13(4), 2004.
    """
    _check(reference, image)
    if reference.ndim not in (2, 3) or min(reference.shape[:2]) < SSIM_WINDOW:
        raise ShapeError(f"SSIM takes images of at least 7 x 7 px, not {reference.shape}", "pass H x W or H x W x C")
    x, y = reference.astype(np.float64), image.astype(np.float64)
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    var_x = sample * (_window_mean(x * x) - mean_x * mean_x)
    var_y = sample * (_window_mean(y * y) - mean_y * mean_y)
    covariance = sample * (_window_mean(x * y) - mean_x * mean_y)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


class Drift:
    """How far results are from a reference's: the one definition of drift.

    ``pooled_db`` pools the squared error over all pictures and pixels and converts it to dB of 255 once, so that one
    equal picture cannot hide the error of the others. ``worst_db`` is the PSNR of the worst single picture. Both are
    infinite only where every picture is equal. At least one picture must have been added.
    """

    def __init__(self) -> None:
        self._squares: list[float] = []
        self._sizes: list[int] = []

    def add(self, reference: NDArray[np.uint8], result: NDArray[np.uint8]) -> Drift:
        """Compare more pictures, ``uint8``, ``(N, ...)``; returns itself.

        Raises:
            ShapeError: the two have not one shape, or are not ``uint8``.
        """
        _check(reference, result)
        errors = np.square(reference.astype(np.float32) - result).reshape(len(reference), -1)
        self._squares += errors.sum(axis=1, dtype=np.float64).tolist()
        self._sizes += [errors.shape[1]] * len(errors)
        return self

    @property
    def pictures(self) -> int:
        """How many were compared."""
        return len(self._sizes)

    @property
    def pooled_db(self) -> float:
        """PSNR in dB of all pictures taken as one."""
        return _decibel(sum(self._squares) / sum(self._sizes))

    @property
    def worst_picture(self) -> int:
        """Number of the worst picture, from 0, in the order of adding."""
        return int(np.argmax(np.divide(self._squares, self._sizes)))

    @property
    def worst_db(self) -> float:
        """PSNR in dB of the worst picture."""
        return _decibel(self._squares[self.worst_picture] / self._sizes[self.worst_picture])

    def within(self, pooled_db: float, worst_db: float) -> bool:
        """Whether both figures reach their gates in dB."""
        return self.pooled_db >= pooled_db and self.worst_db >= worst_db

    def to_json(self) -> dict[str, Any]:
        """JSON types: ``pooled_db``, ``worst_db`` (``None`` for infinite) and ``worst_picture``."""
        figures = {"pooled_db": self.pooled_db, "worst_db": self.worst_db}
        short = {name: round(value, 2) if math.isfinite(value) else None for name, value in figures.items()}
        return {**short, "worst_picture": self.worst_picture}

    def __str__(self) -> str:
        """For people: "58.3 dB over all pictures, 55.1 dB in the worst (number 2)", or "equal"."""
        if math.isinf(self.worst_db):
            return "equal"
        worst = f"{self.worst_db:.1f} dB in the worst (number {self.worst_picture})"
        return f"{self.pooled_db:.1f} dB over all pictures, {worst}"


def _decibel(mean_square: float) -> float:
    return math.inf if mean_square == 0 else 10 * math.log10(255**2 / mean_square)


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = np.asarray(cv2.blur(values, (SSIM_WINDOW, SSIM_WINDOW)), np.float64)
    margin = SSIM_WINDOW // 2
    return mean[margin : values.shape[0] - margin, margin : values.shape[1] - margin]


def _check(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    if reference.shape != image.shape or reference.size == 0:
        raise ShapeError(f"cannot compare {reference.shape} with {image.shape}", "pass two arrays of one shape")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise ShapeError(f"cannot compare {reference.dtype} with {image.dtype}", "pass two uint8 arrays")
