"""The page without a server: its tiles are Python's, and a static site restores in a real browser, offline too."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from restore_sdk import RestoreEngine, RestoreOptions, psnr
from restore_sdk.bundle import Bundle
from restore_sdk.cli import main as cli
from restore_sdk.serve.site import PAGE, RUNTIME, write_site
from restore_sdk.tiling.request import Request, Sample
from tests.conftest import make_photo
from tests.damage.conftest import scratched
from tests.needs import unavailable
from tests.serve.conftest import decoded
from tests.serve.test_page import Visitor


def made(sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A model of a few sums, as in tiling.mjs: restored, and edges."""
    masked = sample.mask > 127
    mean = sample.image[~masked].sum(axis=0, dtype=np.int64) // np.count_nonzero(~masked)
    rows, columns = np.mgrid[:256, :256]
    filled = np.minimum(mean + ((rows + 2 * columns) >> 3)[..., None], 255)
    return np.where(masked[..., None], filled, sample.image).astype(np.uint8), sample.mask


def drawn(height: int, width: int, *circles: tuple[int, int, int], line: int = 0) -> NDArray[np.uint8]:
    """A mask: circles (x, y, radius), and a scratch of so many pixels from corner to corner."""
    mask = np.zeros((height, width), np.uint8)
    for x, y, radius in circles:
        cv2.circle(mask, (x, y), radius, 255, -1)
    if line:
        cv2.line(mask, (0, 0), (width - 1, height - 1), 255, line)
    return mask


SEVERAL = ((300, 250, 20), (900, 120, 45), (700, 600, 150), (120, 650, 30), (1150, 400, 60))
CASES = {
    "small": (drawn(480, 640, (300, 200, 25)), {}),
    "wide": (drawn(900, 1201, (600, 420, 170)), {}),  # a tile of 1,376 px, of all the rows
    "many": (drawn(800, 1203, *SEVERAL, line=9), {}),
    "few tiles": (drawn(800, 1203, *SEVERAL, line=9), {"max_crops": 3}),
    "border": (drawn(700, 610, (0, 350, 90), (609, 699, 40)), {"feather": 7}),
    "aligned": (drawn(256, 256, (100, 130, 60)), {}),
    "tiny": (drawn(37, 90, (40, 10, 8)), {}),  # scaled up, and reflected
    "toned": (drawn(500, 700, (350, 250, 60)), {}),
}


def photograph(name: str, height: int, width: int) -> NDArray[np.uint8]:
    photo = make_photo(height, width, len(name))
    if name == "toned":
        luma = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].astype(int)
        photo = np.clip(np.add(luma, (20, 5, -25)), 0, 255).astype(np.uint8)
    return photo


def test_tiles_in_javascript_are_those_of_python(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        unavailable("node is not installed")
    cases = []
    for name, (mask, options) in CASES.items():
        height, width = mask.shape
        (tmp_path / f"{name}.rgb").write_bytes(photograph(name, height, width).tobytes())
        (tmp_path / f"{name}.mask").write_bytes(mask.tobytes())
        chosen = {"maxCrops": options.get("max_crops", 64), "feather": options.get("feather", 0)}
        cases.append({"name": name, "width": width, "height": height, **chosen})
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    command = ["node", str(Path(__file__).with_name("tiling.mjs")), str(PAGE / "tiling.js"), str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    for name, (mask, options) in CASES.items():
        height, width = mask.shape
        photo = photograph(name, height, width)
        request = Request(photo, mask, RestoreOptions(detail="none", **options), edges=True)
        samples = []
        for wave in request.plan.waves:
            shown = [request.sample(tile) for tile in wave]
            for tile, sample in zip(wave, shown, strict=True):
                request.put(tile, *made(sample))
            samples += shown
        wanted = request.finish()
        keys = ("y", "x", "height", "width", "top", "left", "inner_height", "inner_width")
        tiles = [[*(getattr(t.crop, key) for key in keys), t.level, t.ramp] for t in request.plan.tiles]
        assert [list(tile.values()) for tile in json.loads((tmp_path / f"{name}.json").read_text())] == tiles, name
        output = np.frombuffer((tmp_path / f"{name}.out").read_bytes(), np.uint8)
        whole, parts = output[: 5 * mask.size], output[5 * mask.size :].reshape(len(samples), -1)
        restored = whole[: 4 * mask.size].reshape(height, width, 4)
        known = mask == 0
        assert np.array_equal(restored[known], np.dstack((photo, np.full_like(mask, 200)))[known]), name
        assert (restored[..., 3] == 200).all()
        assert psnr(restored[~known][None, :, :3], wanted[~known][None]) > 55, name
        assert request.edges is not None
        assert psnr(whole[4 * mask.size :].reshape(mask.shape), request.edges) > 60, name
        for part, sample in zip(parts, samples, strict=True):
            seen, shown_mask = part[: -(256**2)].reshape(256, 256, 3), part[-(256**2) :].reshape(256, 256)
            assert np.array_equal(shown_mask, sample.mask), name
            assert psnr(seen[shown_mask == 0][None], sample.image[shown_mask == 0][None]) > 50, name


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def offered(folder: Path) -> Iterator[str]:
    """The folder by a plain server of files; its address."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def runtime(node_folder: Path) -> Path:
    return node_folder / "node_modules" / "onnxruntime-web"


@pytest.fixture
def toy_site(toy_bundle: Bundle, runtime: Path, tmp_path: Path) -> Path:
    write_site(tmp_path / "site", toy_bundle, runtime)
    return tmp_path / "site"


def restores_as_python(visitor: Visitor, photo: NDArray[np.uint8]) -> None:
    mask = visitor.mask()
    visitor.restore()
    restored = decoded(visitor.download())[..., 2::-1]
    with RestoreEngine() as engine:
        wanted = engine.restore(photo, mask, detail="none")
    assert np.array_equal(restored[mask == 0], photo[mask == 0])
    assert (restored[mask > 0] != photo[mask > 0]).any()
    assert psnr(restored[mask > 0][None], wanted[mask > 0][None]) > 50


def test_a_static_site_restores_here_and_offline(browser: Any, runtime: Path, tmp_path: Path) -> None:
    write_site(tmp_path / "site", Bundle.load(), runtime)
    photo = make_photo(300, 400)
    with offered(tmp_path / "site") as url:
        visitor = Visitor(browser, url)
        page = visitor.page
        page.set_default_timeout(120_000)
        page.get_by_text("Nothing leaves this device").wait_for()
        assert not page.locator("[data-server]:visible").count()
        visitor.choose(np.ascontiguousarray(photo[..., ::-1]))
        visitor.stroke((150, 120), (200, 140))
        restores_as_python(visitor, photo)
        page.get_by_label("Format").select_option("jpeg")
        assert visitor.download(name="my photo_restored.jpg")[:3] == b"\xff\xd8\xff"
        page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        page.wait_for_timeout(1000)  # the work is kept
    visitor.context.set_offline(True)
    page.reload()
    page.get_by_text("Your work is back: my photo.png").wait_for()
    assert page.evaluate("crossOriginIsolated"), "threads"
    page.get_by_text("Paint", exact=True).first.click()
    visitor.stroke((180, 60), (210, 60))
    restores_as_python(visitor, photo)
    visitor.context.close()
    assert visitor.troubles == []


def test_damage_is_found_here_as_python_finds_it(
    browser: Any, seeing_bundle: Bundle, runtime: Path, tmp_path: Path
) -> None:
    write_site(tmp_path / "site", seeing_bundle, runtime)
    boxes = (50, 20, 57, 220), (600, 980, 604, 1200), (0, 1290, 501, 1301), (300, 300, 301, 302)
    photo = scratched(1101, 1301, *boxes)  # windows of 1,024, and sides that no half has
    with offered(tmp_path / "site") as url:
        visitor = Visitor(browser, url)
        visitor.choose(np.ascontiguousarray(photo[..., ::-1]))
        visitor.click("Find damage")
        visitor.page.get_by_text("Correct it by hand").wait_for()
        found = visitor.mask()
        visitor.context.close()
    with RestoreEngine(seeing_bundle) as engine:
        wanted = engine.find_damage(photo).mask
    assert np.count_nonzero(wanted) > 4000
    assert np.count_nonzero(found != wanted) < 0.01 * np.count_nonzero(wanted)


def refused(browser: Any, site: Path, prepare: Callable[[Visitor], None], *, painted: bool = False) -> str:
    """What the page says: when it opens, or, ``painted``, of a restoration, after which all is still there."""
    with offered(site) as url:
        visitor = Visitor(browser, "about:blank", service_workers="block")
        prepare(visitor)
        visitor.page.goto(url)
        if painted:
            visitor.choose(make_photo(60, 60))
            visitor.stroke((10, 10), (30, 20))
            visitor.restore()
        said = visitor.error()
        if painted:
            assert visitor.mask().any()
            assert visitor.page.get_by_role("button", name="Restore", exact=True).is_enabled()
        visitor.context.close()
        return said


def test_a_file_that_is_not_its_own_is_refused(browser: Any, toy_site: Path) -> None:
    graph = toy_site / "model" / "repair.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"!")
    assert "model/repair.onnx is not the file that belongs here" in refused(browser, toy_site, lambda _: None)


def test_a_browser_without_simd_gets_a_message(browser: Any, toy_site: Path) -> None:
    lacks = "WebAssembly.validate = () => false"
    assert "lacks WebAssembly SIMD" in refused(browser, toy_site, lambda page: page.context.add_init_script(lacks))


def test_when_memory_runs_out_the_work_is_still_there(browser: Any, toy_site: Path) -> None:
    worker = toy_site / "page" / "worker.js"
    fails = "self.createImageBitmap = () => { throw new RangeError('Array buffer allocation failed'); };"
    worker.write_text(worker.read_text(encoding="utf-8") + fails, encoding="utf-8")
    assert "not enough memory. Your work is kept" in refused(browser, toy_site, lambda _: None, painted=True)


def test_the_command_writes_a_site_over_its_own_only(
    toy_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dist = tmp_path / "package" / "dist"
    out = tmp_path / "site"

    def run(source: Path) -> int:
        return cli.main(["page", "--out", str(out), "--runtime-from", str(source), "--bundle", str(toy_bundle.path)])

    dist.mkdir(parents=True)
    assert run(dist) == 2
    assert "no onnxruntime-web" in capsys.readouterr().err
    assert not out.exists()
    for name in RUNTIME:
        (dist / name).write_bytes(name.encode())
    written = []
    for source in (dist, dist.parent):
        assert run(source) == 0
        written.append(
            {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        )
    assert written[0] == written[1]
    facts = json.loads(written[0].pop("site.json"))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in written[0].items()}
    assert facts["files"] == hashes | {"sw.js": ""}
    (out / "notes.txt").write_text("mine")
    assert run(dist) == 2
    assert "notes.txt" in capsys.readouterr().err
