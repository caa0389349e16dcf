"""The page, in a real browser: with mouse, touch and keyboard, at desktop and phone width, without any other host."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from restore_sdk import RestoreEngine
from tests.needs import unavailable
from tests.serve.conftest import Launch, Service, decoded, encoded, on_its_side, pair
from tests.serve.launch import HELD

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

#: The mask as the page sends it, from the canvas that is painted on.
MASK = """() => { const c = document.getElementById('paint');
  return [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)
    .filter((_, i) => i % 4 === 3).map(v => v > 127 ? 1 : 0).join('')]; }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        unavailable("no Chromium on this host: apt-get install chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--force-color-profile=srgb"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=flags) as browser:
        yield browser


class Visitor:
    """A page in a window of its own; whatever goes wrong in it, or is asked of another host, is kept."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(accept_downloads=True, viewport=DESKTOP, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.troubles: list[str] = []
        self.page.on("console", lambda message: self.troubles.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("filechooser", lambda _: None)  # from now on, a chooser is ours, not a window of the desktop
        own = (url, f"blob:{url}", "data:")
        self.page.on("request", lambda sent: None if sent.url.startswith(own) else self.troubles.append(sent.url))
        self.page.goto(url)

    def choose(self, photo: NDArray[np.uint8], name: str = "my photo.png") -> None:
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Choose a photograph").click()
        chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": encoded(photo)})
        self.page.get_by_role("button", name="Restore", exact=True).wait_for()

    def stroke(self, *points: tuple[float, float]) -> None:
        """With the mouse, over the photograph; points in its parts, 0 to 1."""
        box = self.page.locator("#paint").bounding_box()
        where = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*where[0])
        self.page.mouse.down()
        for x, y in where[1:]:
            self.page.mouse.move(x, y, steps=8)
        self.page.mouse.up()

    def mask(self) -> NDArray[np.uint8]:
        width, height, text = self.page.evaluate(MASK)
        return (np.frombuffer(text.encode(), np.uint8) - ord("0")).reshape(height, width) * np.uint8(255)

    def restore(self) -> None:
        self.page.get_by_role("button", name="Restore", exact=True).click()

    def download(self, link: str = "#download", name: str = "my photo_restored.png") -> NDArray[np.uint8]:
        self.page.locator(link).wait_for()
        with self.page.expect_download() as download:
            self.page.locator(link).click()
        assert download.value.suggested_filename == name
        return decoded(Path(download.value.path()).read_bytes())

    def error(self) -> str:
        self.page.locator("#error:visible").wait_for()
        return str(self.page.locator("#error").inner_text())


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Any, service: Service) -> Iterator[Visit]:
    """Opens the page; at the end nothing must have gone wrong in it and nothing have come from elsewhere."""
    visitors: list[Visitor] = []

    def opened(url: str = service.url, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, url, **options))
        return visitors[-1]

    yield opened
    for visitor in visitors:
        visitor.context.close()
        assert visitor.troubles == []


def test_with_the_mouse(visit: Visit, engine: RestoreEngine) -> None:
    photo, _ = pair(300, 400)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    assert page.get_by_role("button", name="Restore").is_disabled()  # nothing is painted yet
    visitor.stroke((0.3, 0.4), (0.6, 0.5))
    visitor.stroke((0.1, 0.9), (0.2, 0.9))
    before = visitor.mask()
    page.get_by_role("button", name="Undo").click()
    assert 0 < visitor.mask().sum() < before.sum()
    page.get_by_text("Eraser", exact=True).click()
    visitor.stroke((0.3, 0.4), (0.32, 0.4))
    mask = visitor.mask()
    assert 0.005 < (mask > 0).mean() < 0.2
    visitor.restore()
    wanted = engine.run(photo, mask, color="bgr")
    assert np.array_equal(visitor.download(), wanted.image)
    assert page.locator("#after").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [400, 300]
    box = page.locator("#slider").bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    assert 15 <= int(page.locator("#slider").input_value()) <= 35
    assert re.search(r"inset\(0(px)? [67]\d(\.\d+)?%", page.locator("#before").get_attribute("style"))
    page.get_by_text("Completed edges", exact=True).click()
    assert page.locator("#edges").is_visible()
    assert not page.locator("#compare").is_visible()
    assert np.array_equal(visitor.download("#download-edges", "my photo_edges.png"), wanted.edges)


def test_with_the_keyboard_alone(visit: Visit, engine: RestoreEngine) -> None:
    photo, _ = pair(200, 200)
    visitor = visit()
    page, press = visitor.page, visitor.page.keyboard.press
    press("Tab")
    assert page.evaluate("document.activeElement.id") == "choose"
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files({"name": "my photo.png", "mimeType": "image/png", "buffer": encoded(photo)})
    page.locator("#paint:focus").wait_for()
    press("Space")  # a dab in the middle
    dab = visitor.mask()
    assert dab[100, 100] == 255
    for key in ("Enter", *["ArrowRight"] * 8, "Enter", "ArrowUp"):  # a stroke to the right
        press(key)
    stroke = visitor.mask()
    assert stroke.sum() > dab.sum()
    assert stroke[100, 110] == 255
    for key in ("Shift+ArrowDown", "]", "Space", "Control+z"):
        press(key)
    assert np.array_equal(visitor.mask(), stroke)
    press("e")
    assert page.get_by_label("Eraser").is_checked()
    press("e")
    for _ in range(6):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "restore":
            break
    assert page.evaluate("document.activeElement.id") == "restore"
    press("Enter")
    page.locator("#slider:focus").wait_for(state="attached")
    assert "Restored in" in page.get_by_role("status").inner_text()
    value = int(page.locator("#slider").input_value())
    press("ArrowLeft")
    assert int(page.locator("#slider").input_value()) == value - 1
    assert np.array_equal(visitor.download(), engine.run(photo, stroke, color="bgr").image)


def test_faces_and_options(visit: Visit, engine: RestoreEngine) -> None:
    photo, _ = pair(800, 600)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    visitor.stroke((0.05, 0.5), (0.95, 0.5))
    mask = visitor.mask()
    page.get_by_text("Face", exact=True).click()
    visitor.stroke((0.6, 0.55), (0.5, 0.45))  # from any corner
    assert np.array_equal(visitor.mask(), mask)  # nothing was painted
    (box,) = page.locator("#faces rect").evaluate_all(
        "all => all.map(r => ['x', 'y', 'width', 'height'].map(name => Number(r.getAttribute(name))))"
    )
    assert box == pytest.approx([300, 360, 60, 80], abs=3)
    page.get_by_text("Options: 1 face marked").click()
    page.get_by_label("Grow the paint by").fill("2000")
    visitor.restore()
    assert not page.locator("#cancel").is_visible()  # not sent
    for label, value in (("Grow the paint by", "3"), ("Blend its border over", "2"), ("Tiles at most", "2")):
        page.get_by_label(label).fill(value)
    page.get_by_label("Add grain and fine detail").uncheck()
    page.get_by_text("1 face marked, 4 changed").wait_for()
    visitor.restore()
    wanted = engine(photo, mask, color="bgr", faces=[box], dilate=3, feather=2, max_crops=2, detail="none")
    assert np.array_equal(visitor.download(), wanted)
    page.get_by_role("button", name="Forget faces").click()
    page.locator("#paint").focus()
    press = page.keyboard.press
    box = "Shift+ArrowRight", "Shift+ArrowDown", "Escape", "Enter", "Shift+ArrowRight", "Shift+ArrowUp"
    for key in ("e", "f", "Enter", *box, "Enter"):
        press(key)  # with the keyboard alone
    assert page.locator("#faces rect").count() == 1
    assert np.array_equal(visitor.mask(), mask)
    for key in ("Enter", *["ArrowRight"] * 3, *["ArrowDown"] * 3):  # half a box is none
        press(key)
    assert page.locator("#faces rect").count() == 2
    press("Tab")
    assert page.locator("#faces rect").count() == 1
    page.locator("#paint").focus()
    press("f")
    press("Space")
    assert visitor.mask().sum() > mask.sum()


def test_on_a_phone_with_a_finger(visit: Visit) -> None:
    visitor = visit(has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.page
    page.set_viewport_size(PHONE)
    visitor.choose(pair(900, 700)[0])
    box = page.locator("#paint").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    assert visitor.mask()[300, 350] == 255
    page.get_by_role("button", name="Restore").tap()
    page.locator("#download").wait_for()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], "the page scrolls sideways"
    small = page.locator("button:visible, a.button:visible").evaluate_all(
        "all => all.map(e => [e.textContent.trim(), e.getBoundingClientRect().height]).filter(e => e[1] < 44)"
    )
    assert small == [], "too small for a finger"


def test_a_photograph_on_its_side_is_painted_upright(visit: Visit) -> None:
    photo, _ = pair(300, 200)
    visitor = visit()
    visitor.page.locator("#file").set_input_files(
        {"name": "my photo.jpg", "mimeType": "image/jpeg", "buffer": on_its_side(photo)}
    )
    visitor.stroke((0.5, 0.8), (0.6, 0.8))
    assert visitor.mask().shape == (300, 200)
    visitor.restore()
    assert visitor.download().shape == (300, 200, 3)


def drop(page: Any, data: bytes, name: str, kind: str) -> None:
    handle = page.evaluate_handle(
        """([data, name, kind]) => { const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name, { type: kind }));
        return transfer; }""",
        [base64.b64encode(data).decode(), name, kind],
    )
    page.dispatch_event("#pick", "drop", {"dataTransfer": handle})


def test_dropped_files_and_what_goes_wrong(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    drop(page, b"no picture", "notes.txt", "text/plain")
    assert "notes.txt cannot be shown" in visitor.error()
    drop(page, encoded(pair(60, 60)[0]), "small.png", "image/png")
    page.get_by_role("button", name="Restore").wait_for()
    assert not page.locator("#error").is_visible()
    page.locator("#size").fill("100")
    for row in range(11):
        visitor.stroke((0.0, row / 10), (0.999, row / 10))
    visitor.restore()
    assert "The mask marks the whole image" in visitor.error()
    visitor.troubles.clear()  # the browser notes each answer that is no success
    page.get_by_role("button", name="Clear").click()
    visitor.stroke((0.5, 0.5), (0.52, 0.5))
    visitor.restore()
    page.locator("#download").wait_for()
    assert not page.locator("#error").is_visible()


def test_token_cancel_and_a_service_that_went_away(visit: Visit, launch: Launch) -> None:
    with launch(token="a-long-secret-word", ui=1) as service:
        visitor = visit(service.url)
        page = visitor.page
        page.get_by_label("This service asks for a token").fill("another-secret-word")
        page.get_by_role("button", name="Use it").click()
        assert "not the right one" in visitor.error()
        page.get_by_label("This service asks for a token").fill("a-long-secret-word")
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("at most 25 megapixels").wait_for()
        visitor.choose(pair(40, HELD)[0])
        visitor.stroke((0.3, 0.4), (0.4, 0.5))
        visitor.restore()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled.").wait_for()
        assert page.evaluate("document.activeElement.id") == "restore", "who uses the keyboard is where he was"
        service.wait_for(status=499)
        service.let_go()
        visitor.restore()
        page.locator("#download").wait_for()
        service.stop()
        visitor.restore()
        assert "The service cannot be reached" in visitor.error()
        visitor.troubles.clear()


def test_a_second_finger_does_not_paint(visit: Visit) -> None:
    visitor = visit(has_touch=True)
    page = visitor.page
    visitor.choose(pair(200, 200)[0])
    box = page.locator("#paint").bounding_box()
    devtools = visitor.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [
            {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"], "id": number}
            for number, (x, y) in enumerate(points)
        ]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (0.2, 0.2))
    touch("touchMove", (0.3, 0.2))
    touch("touchStart", (0.3, 0.2), (0.8, 0.8))
    touch("touchMove", (0.4, 0.2), (0.8, 0.7))
    touch("touchEnd")
    mask = visitor.mask()
    assert mask[40, 40:80].all(), "the first finger's stroke"
    assert not mask[80:].any(), "nothing on the way to the second, or there"


def test_the_page_may_load_nothing_else(service: Service) -> None:
    answer = service.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = "".join(
        service.ask("GET", path).body.decode()
        for path in ("/", *(f"/page/{name}" for name in ("page.css", "page.js", "faces.js", "mask.js")))
    )
    assert re.findall(r"https?://|@import|url\(", text) == []
    assert service.ask("GET", "/openapi.json").json()["paths"].keys().isdisjoint({"/", "/page/page.js"})
