"""A real service whose engine behaves by the photograph's width, for tests of time and trouble.

python -m tests.serve.launch BUNDLE [SETTING=VALUE ...]

The model stays with a photograph that is HELD until the file that the environment names is there. So tests need not
guess how long anything takes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from restore_sdk import RestoreEngine
from restore_sdk.errors import ExecutionError
from restore_sdk.serve import server
from restore_sdk.serve.settings import Settings

#: Widths in pixels: the model waits to be let go, fails until let go, or meets a fault of ours.
HELD, FAILS, FAULT = 301, 302, 304

#: Names the file that lets go. Nothing is held for longer than HELD_S seconds.
LET_GO, HELD_S = "RESTORE_SDK_TEST_LET_GO", 60.0


class Moody(RestoreEngine):
    """A real engine with those widths."""

    def run(self, image: Any, mask: Any, **options: Any) -> Any:
        trouble(image.shape[1])
        return super().run(image, mask, **options)

    def warmup(self) -> float:
        trouble(FAILS)
        return super().warmup()


def trouble(width: int) -> None:
    let_go, until = Path(os.environ[LET_GO]), time.monotonic() + HELD_S
    while width == HELD and not let_go.exists() and time.monotonic() < until:
        time.sleep(0.01)
    if width == FAILS and not let_go.exists():
        raise ExecutionError("the secret inside of the model", "never shown")
    if width == FAULT:
        raise ZeroDivisionError("the secret inside of the service")


def main() -> None:
    bundle, *pairs = sys.argv[1:]
    settings = Settings.model_validate(dict(pair.split("=", 1) for pair in pairs))
    server.start_log()
    with server.bind("127.0.0.1", 0) as listener, Moody(bundle) as engine:
        server.run(engine, settings, listener)


if __name__ == "__main__":
    main()
