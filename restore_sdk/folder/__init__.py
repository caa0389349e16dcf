"""A folder of photographs: pair them with masks, skip what is done, restore the rest, publish whole files."""

from restore_sdk.folder.photograph import PhotoSettings
from restore_sdk.folder.run import Summary, restore_folder

__all__ = ["PhotoSettings", "Summary", "restore_folder"]
