"""Image files: reading, writing, what a copy keeps of the photograph's metadata, masks from its colour or alpha."""

from restore_sdk._util.disk import write_file
from restore_sdk.files.check import InvalidImageError, identify
from restore_sdk.files.masks import LOSSY_GROWTH, LOSSY_TOLERANCE, mask_of_alpha, mask_of_color, parse_color
from restore_sdk.files.read import MAX_PIXELS, Photo, open_photo, read_mask, read_photo, readable_formats
from restore_sdk.files.write import FORMATS, Encoded, check_form, check_output, encode, write_image

__all__ = [
    "FORMATS",
    "LOSSY_GROWTH",
    "LOSSY_TOLERANCE",
    "MAX_PIXELS",
    "Encoded",
    "InvalidImageError",
    "Photo",
    "check_form",
    "check_output",
    "encode",
    "identify",
    "mask_of_alpha",
    "mask_of_color",
    "open_photo",
    "parse_color",
    "read_mask",
    "read_photo",
    "readable_formats",
    "write_file",
    "write_image",
]
