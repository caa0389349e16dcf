"""How like a restored image is to the original, beside :func:`restore_sdk.imaging.quality.psnr`."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from restore_sdk.errors import ShapeError
from restore_sdk.imaging.quality import check_pair

#: Side of SSIM's uniform window.
SSIM_WINDOW = 7


def l1(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Mean absolute difference as a share of full scale: ``mean |a - b| / 255``, in 0..1.

    Both arrays are ``uint8`` of one shape, any number of axes.
    """
    check_pair(reference, image)
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
    check_pair(reference, image)
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


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = np.asarray(cv2.blur(values, (SSIM_WINDOW, SSIM_WINDOW)), np.float64)
    margin = SSIM_WINDOW // 2
    return mean[margin : values.shape[0] - margin, margin : values.shape[1] - margin]
