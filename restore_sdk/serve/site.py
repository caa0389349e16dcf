"""The page without a server: a folder that any web server can offer, and that restores in the browser.

OUT/
    index.html      the page of ``serve --ui``, with what it may load
    page/           its files; config.js says that there is no service
    model/          the graphs, each with its weights in it
    runtime/        onnxruntime-web
    sw.js           keeps all of it in the browser
    site.json       what this is, and the SHA-256 of every other file but sw.js, which the page checks
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from restore_sdk import __version__
from restore_sdk._util.disk import check_owned, read_plain, write_folder
from restore_sdk.bundle import Bundle
from restore_sdk.bundle.manifest import StageSpec
from restore_sdk.errors import InputError
from restore_sdk.tiling import damage

PAGE = Path(__file__).parent / "page"
MARKER = "site.json"

#: What the page needs of the npm package onnxruntime-web, from its folder ``dist``.
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
MAX_RUNTIME_BYTES = 64 * 2**20

#: The page's, and what WebAssembly needs; the runtime is run from the bytes that were checked: blobs.
POLICY = (
    "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self' blob:; base-uri 'none'; form-action 'none'"
)

#: What damage.js takes from Python.
FINDER = {
    "window": damage.WINDOW,
    "margin": damage.MARGIN,
    "multiple": damage.MULTIPLE,
    "minPixels": damage.MIN_PIXELS,
    "long": damage.LONG,
    "large": damage.LARGE,
    "levels": damage.LEVELS,
}


def write_site(path: str | os.PathLike[str], bundle: Bundle, runtime: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the static site in one step; one at ``path`` is replaced.

    Args:
        path: the folder to write; its parent must exist.
        runtime: the folder of the npm package onnxruntime-web, or its ``dist``.

    Returns:
        What ``site.json`` holds: ``"model"``, ``"stages"``, ``"damage"`` (the stage that finds it, or ``None``),
        ``"runtime"``, and ``"files"``, SHA-256 by name.

    Raises:
        OutputError: ``path`` cannot be written, or holds what is no site of ours.
        InputError: ``runtime`` lacks a file. BundleError (integrity): a graph is not what it should be.
    """
    target, source = Path(path), Path(runtime)
    check_owned(target, MARKER, "static site")
    source = source / "dist" if (source / "dist").is_dir() else source
    try:
        files = {f"runtime/{name}": read_plain(source / name, MAX_RUNTIME_BYTES) for name in RUNTIME}
    except (OSError, ValueError) as error:
        hint = "run: npm install onnxruntime-web, and pass the folder node_modules/onnxruntime-web"
        raise InputError(f"no onnxruntime-web at {runtime}: {error}", hint) from error

    def add_graph(stage: StageSpec) -> str:
        name = f"model/{stage.files['fp32']}"
        files[name] = bundle.read(stage.files["fp32"])
        return name

    stages = [{"file": add_graph(stage), "inputs": [tensor.name for tensor in stage.inputs]} for stage in bundle.stages]
    finder = None
    if (stage := bundle.manifest.damage) is not None:
        finder = {"file": add_graph(stage), "input": stage.inputs[0].name, "output": stage.outputs[0].name, **FINDER}
    page = {file.name: file.read_bytes() for file in PAGE.iterdir()}
    page["config.js"] = page["config.js"].replace(b"server = true", b"server = false")
    worker, index = page.pop("sw.js"), page.pop("index.html")
    head = b'<meta charset="utf-8">'
    files["index.html"] = index.replace(
        head, head + f'\n  <meta http-equiv="Content-Security-Policy" content="{POLICY}">'.encode()
    )
    files |= {f"page/{name}": data for name, data in page.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())}
    facts = {
        "restore_sdk": __version__,
        "model": bundle.facts(),
        "stages": stages,
        "damage": finder,
        "runtime": [f"runtime/{name}" for name in RUNTIME],
        "files": {**hashes, "sw.js": ""},  # it holds the others' hashes, and this file's
    }
    files[MARKER] = (json.dumps(facts, indent=2) + "\n").encode()
    cached = {"policy": POLICY, "files": {**hashes, MARKER: hashlib.sha256(files[MARKER]).hexdigest()}}
    files["sw.js"] = f"const SITE = {json.dumps(cached)};\n".encode() + worker
    write_folder(target, files)
    return facts
