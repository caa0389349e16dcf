"""The command that installs an extra of this package from where the package itself came from."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from restore_sdk._util.terminal import word

_CHECKOUT = Path(__file__).resolve().parents[2]


def install(extra: str) -> str:
    """``pip install '/home/me/restore-sdk[serve]'`` for extra ``serve``: only what came from an index is named by its
    name, since elsewhere that name may be somebody else's."""
    return f"pip install {word(f'{_source()}[{extra}]')}"


def _source() -> str:
    from importlib import metadata  # here: it takes 20 ms, and the command is for errors alone
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    with suppress(OSError, UnicodeDecodeError):  # a folder of packages may hold somebody else's
        if 'name = "restore-sdk"' in (_CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"):
            return str(_CHECKOUT)
    try:
        # PEP 610: written for what was installed from a path or an address, and for that alone
        origin = metadata.distribution("restore-sdk").read_text("direct_url.json")
        url = "" if origin is None else json.loads(origin)["url"]
        path = url2pathname(urlsplit(url).path) if url.startswith("file:") else ""
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return "/path/to/restore-sdk"
    if not url:
        return "restore-sdk"
    return path if path and Path(path).exists() else "/path/to/restore-sdk"
