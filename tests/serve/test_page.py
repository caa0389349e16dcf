"""The page, in a real browser: with mouse, touch and keyboard, at desktop and phone width, without any other host."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from restore_sdk import RestoreEngine
from restore_sdk.bundle import Bundle
from restore_sdk.serve.app import PAGE
from tests.damage.conftest import scratched
from tests.serve.conftest import Launch, Service, decoded, encoded, files, pair, start
from tests.serve.launch import HELD

DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

#: The mask: its size, and its pixels as bits.
MASK = """async () => { const { mask } = (await import('/page/page.js')).view;
  return [mask.width, mask.height, Array.from(mask.packed())]; }"""

#: Keeps the milliseconds between frames from now on.
GAPS = """() => { window.gaps = []; let last = performance.now();
  const next = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next); }"""

#: Where places of the photograph are in the window.
PLACES = """async (places) => {
  const { view } = await import('/page/page.js'); const box = view.stage.getBoundingClientRect();
  return places.map(([x, y]) => view.toStage({ x, y })).map((at) => [box.left + at.x, box.top + at.y]); }"""


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
        self.page.on("dialog", lambda asked: asked.accept())
        own = (url, f"blob:{url}", "data:")
        self.page.on("request", lambda sent: None if sent.url.startswith(own) else self.troubles.append(sent.url))
        self.page.goto(url)

    def choose(self, photo: NDArray[np.uint8], name: str = "my photo.png") -> None:
        self.choose_file(encoded(photo), name)
        self.page.get_by_role("button", name="Restore", exact=True).wait_for()

    def choose_file(self, data: bytes, name: str, field: str = "#file") -> None:
        self.page.locator(field).set_input_files({"name": name, "mimeType": "", "buffer": data})

    def places(self, *points: tuple[float, float]) -> list[tuple[float, float]]:
        return [tuple(at) for at in self.page.evaluate(PLACES, points)]

    def stroke(self, *points: tuple[float, float]) -> None:
        """With the mouse; points in the photograph's pixels."""
        where = self.places(*points)
        self.page.mouse.move(*where[0])
        self.page.mouse.down()
        for x, y in where[1:]:
            self.page.mouse.move(x, y, steps=8)
        self.page.mouse.up()

    def tool(self, name: str) -> None:
        self.page.locator(".tools").get_by_text(name, exact=True).click()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def click(self, *names: str) -> None:
        for name in names:
            self.page.get_by_role("button", name=name, exact=True).click()

    def mask(self) -> NDArray[np.uint8]:
        width, height, bits = self.page.evaluate(MASK)
        pixels = np.unpackbits(np.array(bits, np.uint8), count=width * height, bitorder="little")
        return pixels.reshape(height, width) * np.uint8(255)

    def restore(self) -> None:
        self.click("Restore")

    def download(self, link: str = "#download", name: str = "my photo_restored.png") -> bytes:
        self.page.locator(link).wait_for()
        with self.page.expect_download() as download:
            self.page.locator(link).click()
        assert download.value.suggested_filename == name
        return Path(download.value.path()).read_bytes()

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


def test_a_scratch_at_400_percent_on_12_megapixels(visit: Visit) -> None:
    photo = np.repeat(np.repeat(pair(300, 400)[0], 10, axis=0), 10, axis=1)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    page.mouse.move(*visitor.places((2000, 1500))[0])
    while int(page.locator("#zoom").inner_text()[:-1]) < 400:
        page.mouse.wheel(0, -200)
        page.wait_for_timeout(50)
    page.evaluate(GAPS)
    while page.locator("#size-said").inner_text() != "2 px":
        visitor.press("[")
    middle = page.evaluate("import('/page/page.js').then(({ view }) => view.middle)")
    x, y = round(middle["x"]), round(middle["y"])
    visitor.stroke((x - 50, y - 40), (x, y), (x + 60, y - 30))
    gaps = sorted(page.evaluate("window.gaps.slice(2)"))
    assert gaps[len(gaps) // 2] < 34, "less than 30 frames a second"
    visitor.restore()
    restored = decoded(visitor.download())
    changed = np.argwhere((restored != photo).any(axis=2))
    assert len(changed), "the scratch was restored"
    assert (abs(changed - (y - 20, x)) <= (24, 62)).all(), "and nothing else"
    assert len(changed) <= 130 * 4


def test_painting_comparing_and_going_on(visit: Visit, engine: RestoreEngine) -> None:
    photo, _ = pair(300, 400)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    assert page.get_by_role("button", name="Restore").is_disabled()  # nothing is painted yet
    visitor.stroke((120, 120), (240, 150))
    stroke = visitor.mask()
    assert stroke[120, 120] == 255
    visitor.tool("Line")
    visitor.stroke((40, 270), (80, 270))
    visitor.tool("Lasso")
    visitor.stroke((300, 50), (360, 50), (360, 90), (300, 90))
    assert visitor.mask()[60:80, 310:350].all()
    visitor.click("Undo")
    line = visitor.mask()
    assert line[270, 60] == 255
    visitor.click("Undo")
    assert np.array_equal(visitor.mask(), stroke)
    visitor.click("Redo")
    assert np.array_equal(visitor.mask(), line)
    visitor.tool("Eraser")
    visitor.stroke((120, 120), (122, 120))
    mask = visitor.mask()
    assert (mask <= line).all()
    assert mask[120, 120] == 0
    size = int(page.locator("#size-said").inner_text().split()[0])
    page.locator("#size").focus()
    visitor.press(*["ArrowRight"] * 10)
    assert int(page.locator("#size-said").inner_text().split()[0]) > size
    page.locator("#stage").focus()
    page.keyboard.down("h")
    assert page.locator("canvas.paint").evaluate("canvas => getComputedStyle(canvas).visibility") == "hidden"
    page.keyboard.up("h")
    visitor.restore()
    wanted = engine.run(photo, mask, color="bgr")
    assert np.array_equal(decoded(visitor.download()), wanted.image)
    knob, stage = page.locator("#divider"), page.locator("#stage").bounding_box()
    knob.drag_to(page.locator("#stage"), target_position={"x": stage["width"] / 4, "y": 100})
    assert int(page.locator("#slider").input_value()) == pytest.approx(25, abs=2)
    page.get_by_text("Side by side").click()
    page.mouse.move(stage["x"] + 10, stage["y"] + 10)
    page.mouse.wheel(0, -500)
    assert int(page.locator("#zoom").inner_text()[:-1]) > 200
    page.locator("#result").get_by_text("Details").click()
    assert np.array_equal(decoded(visitor.download("#download-edges", "my photo_edges.png")), wanted.edges)
    visitor.click("Continue from this result")
    for _ in range(100):  # it is read first
        if not visitor.mask().any():
            break
        page.wait_for_timeout(50)
    assert not visitor.mask().any()
    visitor.stroke((200, 200), (220, 200))
    again = visitor.mask()
    visitor.restore()
    assert np.array_equal(decoded(visitor.download()), engine(wanted.image, again, color="bgr"))


def test_masks(visit: Visit) -> None:
    photo, mask = pair(120, 160)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    page.get_by_text("Mask", exact=True).click()
    visitor.choose_file(encoded(mask[:100]), "tall.png", "#mask-file")
    assert "tall.png does not fit" in visitor.error()
    visitor.choose_file(encoded(np.repeat(np.repeat(mask, 2, axis=0), 2, axis=1)), "twice.png", "#mask-file")
    page.get_by_text("of the photograph is painted").wait_for()
    assert np.array_equal(visitor.mask(), mask)
    assert not page.locator("#error").is_visible()
    visitor.click("Invert")
    assert np.array_equal(visitor.mask(), 255 - mask)
    assert np.array_equal(decoded(visitor.download("#mask-save", "my photo_mask.png")), 255 - mask)
    visitor.click("Undo")
    page.locator("#mask-by").fill("3")
    visitor.click("Grow")
    grown = visitor.mask()
    assert grown[37:63, 40:80].all()
    assert not grown[:37].any()
    visitor.click("Shrink")
    assert np.array_equal(visitor.mask(), mask)
    visitor.click("Clear")
    assert not visitor.mask().any()


def test_damage_is_found_and_corrected_by_hand(visit: Visit, seeing_bundle: Bundle) -> None:
    photo = np.ascontiguousarray(scratched(300, 400, (50, 20, 56, 220), level=170)[..., ::-1])
    with start("restore_sdk", "serve", "--port", "0", "--ui", "--bundle", str(seeing_bundle.path)) as service:
        visitor = visit(service.url)
        page = visitor.page
        visitor.choose(photo)
        visitor.stroke((100, 200), (120, 200))
        by_hand = visitor.mask()
        visitor.click("Find damage")
        page.get_by_text("No damage was found").wait_for()  # that is certain enough
        page.locator("#sensitivity").fill("2")  # looks again
        with RestoreEngine(seeing_bundle) as engine:
            found = engine.find_damage(photo, sensitivity="high", color="bgr").mask
        page.get_by_text(f"Found: {100 * np.count_nonzero(found) / found.size:.1f}% of the photograph").wait_for()
        assert np.array_equal(visitor.mask(), found | by_hand)
        page.locator("#sensitivity").fill("0")  # what was found is found anew, and what was painted stays
        page.get_by_text("No damage was found").wait_for()
        assert np.array_equal(visitor.mask(), by_hand)


def test_with_the_keyboard_alone(visit: Visit, engine: RestoreEngine) -> None:
    photo, _ = pair(200, 200)
    visitor = visit()
    page, press = visitor.page, visitor.press
    for _ in range(3):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "choose":
            break
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files({"name": "my photo.png", "mimeType": "image/png", "buffer": encoded(photo)})
    page.locator("#stage:focus").wait_for()
    press("Space")  # a dab in the middle
    dab = visitor.mask()
    assert dab[100, 100] == 255
    press("Enter", *["ArrowRight"] * 8, "Enter", "ArrowUp")  # a stroke to the right
    stroke = visitor.mask()
    assert stroke.sum() > dab.sum()
    assert stroke[100, 110] == 255
    press("Shift+ArrowDown", "]", "Space", "Control+z")
    assert np.array_equal(visitor.mask(), stroke)
    press("+", "Alt+ArrowRight", "e")
    assert page.get_by_label("Eraser").is_checked()
    press("e", "f", "Enter", "Shift+ArrowRight", "Shift+ArrowDown", "Enter")
    assert page.locator("#guides rect").count() == 1, "a face"
    press("Enter", "ArrowRight", "Tab")  # half a box is none
    assert page.locator("#guides rect").count() == 1
    assert np.array_equal(visitor.mask(), stroke)
    (box,) = page.evaluate("import('/page/page.js').then(({ tools }) => tools.faces)")
    for _ in range(20):
        press("Tab")
        if page.evaluate("document.activeElement.id") == "restore":
            break
    press("Enter")
    page.locator("#slider:focus").wait_for(state="attached")
    assert "Restored in" in page.locator("#status").inner_text()
    press("ArrowLeft")
    assert page.locator("#slider").input_value() == "49"
    wanted = engine(photo, stroke, color="bgr", faces=[box])
    assert np.array_equal(decoded(visitor.download()), wanted)


def test_options_and_another_model(visit: Visit, engine: RestoreEngine, toy_bundle: Bundle) -> None:
    photo, _ = pair(400, 300)
    words = ("serve", "--port", "0", "--ui", "--bundle", str(toy_bundle.path), "--also", "default")
    with start("restore_sdk", *words) as service:
        visitor = visit(service.url)
        page = visitor.page
        visitor.choose(photo)
        visitor.stroke((15, 200), (285, 200))
        page.get_by_text("Options").click()
        page.get_by_label("Blend its border over").fill("2000")
        visitor.restore()
        assert not page.locator("#cancel").is_visible()  # not sent
        page.get_by_label("Blend its border over").fill("2")
        page.get_by_label("Tiles at most").fill("2")
        page.get_by_label("Add grain and fine detail").uncheck()
        mask = visitor.mask()
        visitor.restore()
        wanted = engine(photo, mask, color="bgr", feather=2, max_crops=2, detail="none")
        assert np.array_equal(decoded(visitor.download()), wanted)
        page.get_by_text("Paint", exact=True).first.click()
        page.get_by_label("Model").select_option("like a photograph")
        visitor.restore()
        with RestoreEngine("default") as other:
            wanted = other(photo, mask, color="bgr", feather=2, max_crops=2, detail="none")
        assert np.array_equal(decoded(visitor.download()), wanted)
        assert service.restore(*files(), model=b"none").error == (422, "BadRequest")


def test_on_a_phone_with_fingers(visit: Visit) -> None:
    visitor = visit(has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.page
    page.set_viewport_size(PHONE)
    visitor.choose(pair(900, 700)[0])
    page.touchscreen.tap(*visitor.places((350, 300))[0])
    assert visitor.mask()[300, 350] == 255
    before, devtools = visitor.mask(), visitor.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (150, 200))
    touch("touchMove", (152, 200))
    touch("touchStart", (152, 200), (200, 250))
    touch("touchMove", (100, 150), (250, 300))
    touch("touchEnd")
    assert np.array_equal(visitor.mask(), before), "two fingers paint nothing"
    assert page.evaluate("import('/page/page.js').then(({ view }) => view.fits)") is False, "they zoom"
    button = page.get_by_role("button", name="Restore")
    assert button.bounding_box()["y"] + 44 <= PHONE["height"], "in sight"
    small = page.locator("button:visible, .button:visible, .tools label").evaluate_all(
        "all => all.map(e => [e.textContent.trim(), e.getBoundingClientRect().height]).filter(e => e[1] < 44)"
    )
    assert small == [], "too small for a finger"
    button.tap()
    page.locator("#download").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], "the page scrolls sideways"


def drop(page: Any, data: bytes, name: str, kind: str) -> None:
    handle = page.evaluate_handle(
        """([data, name, kind]) => { const transfer = new DataTransfer();
        transfer.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], name, { type: kind }));
        return transfer; }""",
        [base64.b64encode(data).decode(), name, kind],
    )
    page.dispatch_event("#pick", "drop", {"dataTransfer": handle})


def test_what_is_refused_or_converted_is_reported_at_once(visit: Visit, launch: Launch) -> None:
    with launch(ui=1, max_pixels=10_000, max_body_bytes=20_000) as service:
        visitor = visit(service.url)
        page = visitor.page
        drop(page, b"no picture", "notes.txt", "text/plain")
        assert "notes.txt cannot be shown" in visitor.error()
        drop(page, encoded(pair(100, 101)[0]), "large.png", "image/png")
        assert "large.png has 101 x 100 px" in visitor.error()
        noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
        drop(page, encoded(noise), "noise.png", "image/png")
        assert "noise.png has 0.0 MB" in visitor.error()
        gif = io.BytesIO()
        Image.fromarray(pair(60, 60)[0]).save(gif, "GIF")
        drop(page, gif.getvalue(), "small.gif", "image/gif")
        page.get_by_text("The service does not read GIF. It was converted").wait_for()
        assert not page.locator("#error").is_visible()
        cmyk = io.BytesIO()
        Image.fromarray(pair(60, 60)[0]).convert("CMYK").save(cmyk, "JPEG")
        drop(page, cmyk.getvalue(), "print.jpg", "image/jpeg")
        page.get_by_text("It is CMYK, for print").wait_for()
        page.locator("#stage").focus()
        visitor.press("Space")
        visitor.restore()
        visitor.download(name="print_restored.png")
        page.get_by_text("Paint", exact=True).first.click()
        page.get_by_text("Mask", exact=True).click()
        visitor.click("Clear", "Invert")
        visitor.restore()
        assert "The mask marks the whole image" in visitor.error()
        visitor.troubles.clear()  # the browser notes each answer that is no success


def test_a_reload_keeps_the_work_and_another_tab_has_its_own(visit: Visit) -> None:
    photo, _ = pair(200, 300)
    visitor = visit()
    page = visitor.page
    visitor.choose(photo)
    visitor.stroke((50, 50), (90, 60))
    mask = visitor.mask()
    visitor.restore()
    result = visitor.download()
    page.wait_for_timeout(1000)
    page.reload()
    page.get_by_text("Your work is back: my photo.png").wait_for()
    assert np.array_equal(visitor.mask(), mask)
    assert visitor.download() == result
    with visitor.context.expect_page() as other:  # a copy, whose session storage is copied too
        page.evaluate("window.open(location.href) && 0")
    other.value.get_by_role("button", name="Choose a photograph").wait_for()
    other.value.close()
    visitor.click("Forget it")
    page.get_by_role("button", name="Choose a photograph").wait_for()
    page.reload()
    page.get_by_text("At most 25 megapixels").wait_for()
    assert not page.locator("#work").is_visible()


def test_token_cancel_and_a_service_that_went_away(visit: Visit, launch: Launch) -> None:
    with launch(token="a-long-secret-word", ui=1) as service:
        visitor = visit(service.url)
        page = visitor.page
        page.get_by_label("This service asks for a token").fill("another-secret-word")
        visitor.click("Use it")
        assert "not the right one" in visitor.error()
        page.get_by_label("This service asks for a token").fill("a-long-secret-word")
        visitor.click("Use it")
        page.get_by_text("At most 25 megapixels").wait_for()
        visitor.choose(pair(40, HELD)[0])
        visitor.stroke((90, 16), (120, 20))
        visitor.restore()
        visitor.click("Cancel")
        page.get_by_text("Cancelled.").wait_for()
        assert page.evaluate("document.activeElement.id") == "restore", "who uses the keyboard is where he was"
        service.wait_for(status=499)
        service.let_go()
        visitor.restore()
        page.locator("#download").wait_for()
        service.stop()
        page.get_by_text("Paint", exact=True).first.click()
        visitor.restore()
        assert "The service cannot be reached" in visitor.error()
        visitor.troubles.clear()


@pytest.mark.parametrize("language", ["en-GB", "de-AT"])
def test_everything_has_a_name_and_restore_is_in_sight(visit: Visit, language: str) -> None:
    visitor = visit(locale=language, color_scheme="dark")
    page = visitor.page
    visitor.choose_file(encoded(pair(300, 200)[0]), "tall.png")
    page.locator("#restore").wait_for()
    assert page.evaluate("document.documentElement.lang") == language[:2]
    box = page.locator("#restore").bounding_box()
    assert box["y"] + box["height"] <= DESKTOP["height"]
    page.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, input, select, a, summary, [role=application]')].filter((e) =>
        !(e.getAttribute('aria-label') || [...(e.labels ?? [])].map((l) => l.textContent).join('').trim()
          || e.textContent.trim())).map((e) => e.id)"""
    )
    assert nameless == []
    assert page.locator("[data-t]:not(:empty)").count() == page.locator("[data-t]").count()


def test_the_page_may_load_nothing_else(service: Service) -> None:
    answer = service.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    files = [service.ask("GET", "/").body, *(service.ask("GET", f"/page/{file.name}").body for file in PAGE.iterdir())]
    assert sum(map(len, files)) < 150_000
    text = b"".join(files).decode()
    assert re.findall(r"https?://|@import|url\(", text) == []
    assert service.ask("GET", "/openapi.json").json()["paths"].keys().isdisjoint({"/", "/page/page.js"})
