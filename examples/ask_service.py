"""Ask a running ``restore-sdk serve`` over HTTP, with nothing but the standard library.

    python examples/ask_service.py [URL [PHOTO MASK OUT]]

Without arguments: the example portrait, http://127.0.0.1:8000, into restored.png in the current folder. A token is
taken from the environment variable RESTORE_SDK_TOKEN.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Send a photograph and its mask, write what comes back."""
    url, photo, mask, out = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]][:4]
    body = json.dumps({"photo": encoded(photo), "mask": encoded(mask), "edges": True}).encode()
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("RESTORE_SDK_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    answer = ask(urllib.request.Request(f"{url}/v1/restore", body, headers))
    Path(out).write_bytes(base64.b64decode(answer["image"]))
    print(f"{out}: {answer['width']} x {answer['height']} px, {sum(answer['timings_ms'].values()):.0f} ms")


DEFAULTS = ("http://127.0.0.1:8000", HERE / "portrait_damaged.png", HERE / "portrait_mask.png", "restored.png")


def encoded(path: str | Path) -> str:
    """A file's bytes in base64, or a clear end."""
    try:
        return base64.b64encode(Path(path).read_bytes()).decode()
    except OSError as error:
        sys.exit(f"cannot read {path}: {error.strerror}")


def ask(request: urllib.request.Request) -> dict:
    """The answer; where the service is full, after the time that it names."""
    for _ in range(10):
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return json.load(response)
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
