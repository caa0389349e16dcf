"""A real service whose engine behaves by the photograph's width, for tests of time, trouble and company.

python -m tests.serve.launch BUNDLE [FIELD=NUMBER ...]

The model stays with a photograph that is HELD until the file that the environment names is there. So tests need not
guess how long anything takes.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from restore_sdk import RestoreEngine
from restore_sdk.errors import ExecutionError, MaskError
from restore_sdk.serve import gate, logs, server
from restore_sdk.serve.app import create_app
from restore_sdk.serve.settings import Settings

#: Widths in pixels: the model waits to be let go, fails, or finds the mask unsound only when it runs.
HELD, FAILS, UNSOUND = 301, 302, 303

#: Names the file that lets go. Nothing is held for longer than HELD_S seconds.
LET_GO, HELD_S = "RESTORE_SDK_TEST_LET_GO", 60.0


class Moody(RestoreEngine):
    """A real engine with those widths."""

    def run(self, image: Any, mask: Any, **options: Any) -> Any:
        trouble(image)
        return super().run(image, mask, **options)

    def restore_batch(self, images: Any, masks: Any, **options: Any) -> Any:
        for image in images:
            trouble(image)
        return super().restore_batch(images, masks, **options)


def trouble(image: Any) -> None:
    width = image.shape[1]
    if width == HELD:
        until = time.monotonic() + HELD_S
        while not Path(os.environ[LET_GO]).exists() and time.monotonic() < until:
            time.sleep(0.01)
    elif width == FAILS:
        raise ExecutionError("the secret inside of the model", "never shown")
    elif width == UNSOUND:
        raise MaskError("unsound", "send another")


def main() -> None:
    bundle, *pairs = sys.argv[1:]
    kinds = {field.name: float if str(field.type) == "float" else int for field in fields(Settings)}
    chosen: dict[str, Any] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        chosen[name] = value if name == "token" else kinds[name](value)
    gate.LINGER_S = 30.0  # on a busy host a client may take long to send what is thrown away
    with logs.configured(), server.bind("127.0.0.1", 0) as listener, Moody(bundle) as engine:
        app = create_app(engine, Settings(**chosen))
        logs.listening(server.url(listener), engine.info(), open_to_all=False)
        server.run(app, listener)


if __name__ == "__main__":
    main()
