"""A folder of photographs: pair them with masks, skip what is done, restore the rest, publish whole files.

:func:`restore_folder` is all of it. ``pairing`` finds each photograph's mask, ``photograph`` restores one of them,
``journal`` publishes results and remembers them, ``run`` puts these together.
"""

from restore_sdk.folder.photograph import PhotoSettings
from restore_sdk.folder.run import Summary, restore_folder

__all__ = ["PhotoSettings", "Summary", "restore_folder"]
