"""Image files: reading, writing, what a copy keeps of the photograph's metadata, masks from its colour or alpha."""

from restore_sdk._util.atomic import write_file
from restore_sdk.files.files import (
    MAX_PIXELS,
    check_form,
    check_output,
    encode_image,
    read_mask,
    read_photo,
    write_image,
)
from restore_sdk.files.masks import LOSSY_GROWTH, LOSSY_TOLERANCE, mask_of_alpha, mask_of_color
from restore_sdk.files.photo import Photo, open_photo

__all__ = [
    "LOSSY_GROWTH",
    "LOSSY_TOLERANCE",
    "MAX_PIXELS",
    "Photo",
    "check_form",
    "check_output",
    "encode_image",
    "mask_of_alpha",
    "mask_of_color",
    "open_photo",
    "read_mask",
    "read_photo",
    "write_file",
    "write_image",
]
