"""Ask a running ``restore-sdk serve`` over HTTP, with nothing but the standard library.

    python examples/ask_service.py [URL [PHOTO MASK OUT]]

Without arguments: the example portrait, http://127.0.0.1:8000, into restored.png in the current folder. A token is
taken from the environment variable RESTORE_SDK_TOKEN.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Send a photograph and its mask, write what comes back."""
    if any(argument.startswith("-") for argument in sys.argv[1:]):
        sys.exit(__doc__)
    url, photo, mask, out = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]][:4]
    boundary = secrets.token_hex(16)
    body = part("photo", photo, boundary) + part("mask", mask, boundary) + f"--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if token := os.environ.get("RESTORE_SDK_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    image, timing = ask(urllib.request.Request(f"{url}/v1/restore", body, headers))
    Path(out).write_bytes(image)
    print(f"{out}: {timing}")


DEFAULTS = ("http://127.0.0.1:8000", HERE / "portrait_damaged.png", HERE / "portrait_mask.png", "restored.png")


def part(name: str, path: str | Path, boundary: str) -> bytes:
    """A file as a part of a multipart body, or a clear end."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        sys.exit(f"cannot read {path}: {error.strerror}")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="file"\r\n\r\n'
    return head.encode() + data + b"\r\n"


def ask(request: urllib.request.Request) -> tuple[bytes, str]:
    """The restored image and how long each part took; where the service is full, after the time that it names."""
    for _ in range(10):
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.read(), response.headers["Server-Timing"]
        except urllib.error.HTTPError as error:
            if error.code != 503:
                problem = json.load(error)["error"]
                sys.exit(f"{error.code}: {problem['message']} ({problem['hint']})")
            time.sleep(float(error.headers.get("Retry-After", 1)))
        except urllib.error.URLError as error:
            sys.exit(f"no service at {request.full_url}: {error.reason}")
    sys.exit("the service is full")


if __name__ == "__main__":
    main()
