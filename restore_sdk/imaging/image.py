"""Pixels in, pixels out: the one place that prepares images and masks."""

from __future__ import annotations

import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from restore_sdk._util.opencv import cv2
from restore_sdk.errors import ImageError, MaskError, ShapeError

Color = Literal["rgb", "bgr"]

#: Side in pixels of the picture that the model takes.
MODEL_SIZE = 256

#: Pixels with a mask value above this are masked.
MASKED_ABOVE = 127

#: A PIL image decodes its file when it is first asked for pixels, and not safely in two threads at once. Images share
#: the locks, by where they lie in memory.
_DECODING = tuple(threading.Lock() for _ in range(64))


def as_pixels(image: object, color: Color = "rgb") -> NDArray[np.uint8]:
    """The pixels of an image as they are, after a check that their form is one that the SDK takes.

    Accepted: ``uint8`` arrays of shape ``(H, W)`` or ``(H, W, 1)`` (grey), ``(H, W, 3)`` (colour) and ``(H, W, 4)``
    (colour with straight alpha), of any strides; PIL images of mode ``L``, ``RGB`` and ``RGBA``. A PIL image is taken
    as it lies: for a photo with an EXIF orientation pass ``PIL.ImageOps.exif_transpose(image)``.

    Args:
        image: the array, or anything that behaves like a PIL image.
        color: channel order of a colour array. PIL images are always ``"rgb"``.

    Returns:
        The array itself (of a subclass, a plain view), or an array of the PIL image's pixels; do not write into it.

    Raises:
        ImageError: anything else: floats, 16 bits, channels first, palettes, CMYK, lists, no pixels at all; or a PIL
            image whose file is damaged.
    """
    if color not in ("rgb", "bgr"):
        raise ImageError(f"color is {color!r}", 'pass color="rgb" or color="bgr"')
    pixels: NDArray[Any]
    if isinstance(image, np.ndarray):
        pixels = image
    elif _is_pil(image):
        pixels = _from_pil(image, ("L", "RGB", "RGBA"), ImageError, 'image.convert("RGB")')
        if color != "rgb":
            raise ImageError("a PIL image has no BGR order", 'leave out color="bgr", or pass an array')
    else:
        raise ImageError(f"the image is a {type(image).__name__}", "pass a uint8 array, H x W x 3, or a PIL image")
    if pixels.dtype != np.uint8:
        raise ImageError(f"the image is {pixels.dtype}, only uint8 in 0..255 is taken", _to_uint8(pixels.dtype))
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        raise ImageError(f"the image has shape {pixels.shape}", "put channels last: numpy.moveaxis(image, 0, -1)")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ImageError(f"the image has shape {pixels.shape}", "pass H x W, or H x W x 1, 3 or 4; one image a call")
    if pixels.size == 0:
        raise ImageError(f"the image has no pixels: shape {pixels.shape}", "pass at least 1 x 1")
    return np.asarray(pixels)  # a subclass may compute otherwise: masked arrays, np.matrix


def to_rgb(pixels: NDArray[np.uint8], color: Color = "rgb") -> NDArray[np.uint8]:
    """Pixels of any accepted form as a fresh contiguous ``(H, W, 3)`` RGB array.

    Grey is repeated into the three channels. Alpha is dropped: the colours under it are taken as they stand, straight
    (not premultiplied).
    """
    pixels = np.ascontiguousarray(pixels)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3 and color == "rgb":
        return pixels.copy()
    code = {
        (1, "rgb"): cv2.COLOR_GRAY2RGB,
        (1, "bgr"): cv2.COLOR_GRAY2RGB,
        (3, "bgr"): cv2.COLOR_BGR2RGB,
        (4, "rgb"): cv2.COLOR_RGBA2RGB,
        (4, "bgr"): cv2.COLOR_BGRA2RGB,
    }[channels, color]
    rgb: NDArray[np.uint8] = cv2.cvtColor(pixels, code)
    return rgb


def like_pixels(rgb: NDArray[np.uint8], pixels: NDArray[np.uint8], color: Color = "rgb") -> NDArray[np.uint8]:
    """An RGB array in the form of ``pixels``, of the same height and width: the inverse of :func:`to_rgb`.

    Grey is the luma of ITU-R BT.601 (as in OpenCV); alpha is that of ``pixels``.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        grey: NDArray[np.uint8] = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        return grey.reshape(pixels.shape)
    if color == "bgr":  # by OpenCV: numpy takes 20 times as long to turn channels round
        rgb = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(rgb) if channels == 3 else np.dstack((rgb, pixels[..., 3]))


def tone_of(rgb: NDArray[np.uint8], *, near_grey: bool = False) -> NDArray[np.uint8] | None:
    """The colour of each luma in a picture of one tone: grey, or toned as an old print.

    Grey are pixels whose channels lie within 2 levels, for 99 % of them; of one tone, where the mean colour of their
    luma is within 5 levels of 95 % (of 198 colour photographs of faces none had less than 9).

    Args:
        rgb: ``(N, 3)`` known pixels.
        near_grey: look for grey only.

    Returns:
        ``(256, 3)`` ``uint8``, to be indexed by luma (ITU-R BT.601); equal channels for grey. ``None``: it has colours.
    """
    if len(rgb) < 64:
        return None
    steps = np.arange(256)
    if np.count_nonzero(np.ptp(rgb, axis=1) > 2) <= 0.01 * len(rgb):
        return np.repeat(steps.astype(np.uint8)[:, None], 3, axis=1)
    if near_grey:
        return None
    luma = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2GRAY)[0]
    offsets = rgb - luma[:, None].astype(np.float64)
    kernel = np.exp(-((steps[:49] - 24.0) ** 2) / 128)
    weight = np.convolve(np.bincount(luma, minlength=256), kernel, "same")
    seen = weight > 1
    tone = np.empty((256, 3))
    for channel in range(3):
        sums = np.convolve(np.bincount(luma, offsets[:, channel], 256), kernel, "same")
        tone[:, channel] = np.interp(steps, steps[seen], sums[seen] / weight[seen])
    if np.quantile(np.abs(offsets - tone[luma]).max(axis=1), 0.95) > 5:
        return None
    return np.clip(np.rint(steps[:, None] + tone), 0, 255).astype(np.uint8)


def mask_values(mask: object, shape: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.bool_]:
    """The values of a mask as they are, after a check of its form; what they say is for :func:`masked_pixels`.

    Accepted: ``bool`` and ``uint8`` arrays, and PIL images of mode ``1`` and ``L``; each ``(H, W)`` or ``(H, W, 1)``.

    Returns ``(H, W)``, the array itself or an array of the PIL image's pixels; do not write into it.

    Raises:
        ShapeError: the mask's height and width are not the image's.
        MaskError: another type or form, or a PIL image whose file is damaged.
    """
    values: NDArray[Any]
    if isinstance(mask, np.ndarray):
        values = mask
    elif _is_pil(mask):
        values = _from_pil(mask, ("1", "L"), MaskError, 'mask.convert("L")')
    else:
        raise MaskError(f"the mask is a {type(mask).__name__}", "pass a numpy bool or uint8 array, H x W")
    if values.dtype not in (np.uint8, np.bool_):
        raise MaskError(f"the mask is {values.dtype}, only bool and uint8 are taken", "pass mask > threshold, a bool")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        raise MaskError(f"the mask has shape {values.shape}, expected H x W", "pass one channel: mask[..., 0]")
    if values.shape != tuple(shape):
        raise ShapeError(
            f"the mask is {values.shape[1]} x {values.shape[0]} px, the image {shape[1]} x {shape[0]} px",
            "make the mask in the image's size",
        )
    return values


class MaskWarning(UserWarning):
    """A mask that is taken as it is, and probably not meant so."""


def mask_note(values: NDArray[np.uint8] | NDArray[np.bool_]) -> str:
    """Why a mask cannot be meant as it is; empty where nothing is odd.

    Looked at is about every 8th pixel of rows and columns, from 32 x 32 px on. Odd are more than 3/4 of the picture
    marked, and more than 1/5 of it neither black nor white.
    """
    step = min(8, min(values.shape) // 32)
    if not step:
        return ""
    sample = values[::step, ::step]
    share = np.count_nonzero(sample if sample.dtype == np.bool_ else sample > MASKED_ABOVE) / sample.size
    if sample.dtype == np.uint8 and np.count_nonzero((sample > 32) & (sample < 224)) > sample.size / 5:
        return "the mask has many shades, as a photograph; white (above 127) is what to repaint"
    if share > 0.75:
        return f"the mask marks {share:.0%} of the picture; white is what to repaint"
    return ""


def masked_pixels(values: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels a mask marks, from the values that :func:`mask_values` has checked.

    Of ``bool`` masks, true is masked; of others, what is above 127. A mask that marks nothing is fine. Returns a fresh
    ``(H, W)`` bool array, true where pixels are missing.

    Raises:
        MaskError: every pixel is masked; or a ``uint8`` mask is not black, yet has nothing above 127, as a 0/1 mask.
    """
    # A view of another type as bool may hold any byte; compared, each becomes 0 or 1.
    marked = np.ascontiguousarray(values).view(np.uint8)
    mask = marked > (0 if values.dtype == np.bool_ else MASKED_ABOVE)
    masked = np.count_nonzero(mask)
    if masked == mask.size:
        raise MaskError("the mask marks the whole image, so nothing is known", "white is what to repaint")
    if masked == 0 and marked.any():
        raise MaskError(
            f"the mask is not black, but nothing in it is above {MASKED_ABOVE} (highest: {int(marked.max())})",
            "white (255) is what to repaint; multiply a 0/1 mask by 255, or pass a bool array",
        )
    return np.asarray(mask)


def _is_pil(image: object) -> bool:
    # Asked of the type: on an image, this property encodes every pixel.
    return hasattr(image, "mode") and hasattr(image, "convert") and hasattr(type(image), "__array_interface__")


def _from_pil(image: Any, modes: tuple[str, ...], error: type[ImageError | MaskError], hint: str) -> NDArray[Any]:
    if image.mode not in modes:
        if image.mode.startswith(("I", "F")):  # convert() would clip these to 255
            hint = "an 8-bit array: numpy.asarray(image), its range brought to 0..255, as numpy.uint8"
        elif "RGBA" in modes and ("A" in image.mode or "a" in image.mode or "transparency" in image.info):
            hint = 'image.convert("RGBA")'
        raise error(f"a PIL image of mode {image.mode!r} is not taken, only {', '.join(modes)}", f"pass {hint}")
    try:
        with _DECODING[id(image) // 64 % len(_DECODING)]:
            if hasattr(image, "load"):
                image.load()
        return np.asarray(image)
    except (OSError, ValueError, SyntaxError) as cause:  # PIL decodes a file only now
        raise error(f"the PIL image cannot be decoded: {cause}", "get the file again") from cause


def _to_uint8(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return "if its range is 0..1, pass (image * 255).round().astype(numpy.uint8)"
    if dtype == np.uint16:
        return "if its range is 0..65535, pass (image / 257).round().astype(numpy.uint8)"
    return "bring it to 0..255 and pass image.astype(numpy.uint8)"
