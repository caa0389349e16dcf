"""Damaged prints with the truth: photograph in, out what age and handling make of it, and which pixels are damage.

Everything is drawn with one `numpy.random.Generator`, so a seed is a picture. The number of a kind of damage is its
place in `KINDS` + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from training.damage.pictures import PAPER, Array, Pictures, draw, noise, walk

KINDS = ("scratch", "crack", "fold", "loss", "tear", "stain", "speck", "fibre", "tape", "ink")


class Print:
    """A picture under work: as it is, as it would be whole, and where damage has been laid on it."""

    def __init__(self, picture: Array, rng: np.random.Generator) -> None:
        self.rng, self.size = rng, picture.shape[0]
        self.whole = picture.astype(np.float32)
        self.image = self.whole.copy()
        self.alpha = np.zeros(picture.shape[:2], np.float32)
        self.kind = np.zeros(picture.shape[:2], np.uint8)

    def lay(self, kind: str, alpha: Array, colour: Array, mark: float = 0.3) -> None:
        """Cover the picture with a colour where ``alpha`` says; over ``mark`` it is that kind of damage."""
        alpha = np.clip(alpha, 0, 1)
        self.image += (np.asarray(colour, np.float32) - self.image) * alpha[..., None]
        self.kind[alpha > mark] = KINDS.index(kind) + 1
        np.maximum(self.alpha, alpha, out=self.alpha)

    def tint(self, factor: Array) -> None:
        """Multiply what is whole and what is damaged: light and tone are no damage."""
        self.image *= factor
        self.whole *= factor

    def paper(self) -> Array:
        return np.clip(PAPER[self.rng.integers(len(PAPER))] + self.rng.normal(0, 6), 0, 255).astype(np.float32)

    def light_or_dark(self, light: float) -> Array:
        if self.rng.random() < light:
            return self.paper()
        return (np.full(3, self.rng.uniform(0, 60)) + self.rng.normal(0, 4, 3)).astype(np.float32)

    def point(self) -> Array:
        return self.rng.uniform(-0.05, 1.05, 2) * self.size

    def patchy(self, floor: float = 0.0, cells: float = 8) -> Array:
        """Noise that lets a line come and go."""
        return np.clip((noise(self.rng, self.size, cells) - self.rng.uniform(0.1, 0.45)) * 5, floor, 1)


def _relief(p: Print, line: Array) -> None:
    """The dark or light edge that a raised crack or scratch throws to one side: part of the same damage."""
    rng = p.rng
    dx, dy = rng.choice((-1, 0, 1), 2)
    side = cv2.GaussianBlur(np.roll(line, (dy * 2, dx * 2), (0, 1)), (0, 0), rng.uniform(0.7, 1.6)) * (1 - line)
    p.image += (side * rng.uniform(-60, 30))[..., None]


def scratches(p: Print) -> None:
    """A few long ones, or many short ones side by side where something rubbed."""
    rng, size = p.rng, p.size
    line = np.zeros((size, size), np.float32)
    many = rng.random() < 0.35
    angle, spread = rng.uniform(0, np.pi), rng.uniform(0.02, 0.5)
    centre, reach = p.point(), size * (rng.uniform(0.1, 0.4) if many else 1)
    for _ in range(int(8 * np.exp(rng.uniform(0, 2.8))) if many else rng.integers(1, 6)):
        length = size * (rng.uniform(0.03, 0.4) if many else rng.uniform(0.15, 1.5))
        start = centre + rng.normal(0, reach, 2) if many else p.point()
        heading = angle + rng.normal(0, spread)
        points = walk(
            rng,
            start - np.array([np.cos(heading), np.sin(heading)]) * length / 2,
            heading,
            length,
            6,
            0.03,
            rng.choice((0.0, 0.02, 0.06)),
        )
        draw(line, points, rng.uniform(0.3, 1.5) if many else rng.uniform(0.4, 3.2), rng.uniform(0.45, 1))
    if rng.random() < 0.7:
        line *= p.patchy(rng.choice((0.0, 0.3)))
    p.lay("scratch", line * rng.uniform(0.55, 1), p.light_or_dark(0.87))
    if rng.random() < 0.4:
        _relief(p, line)


def _branch(
    rng: np.random.Generator,
    canvas: Array,
    start: Array,
    angle: float,
    length: float,
    width: float,
    jag: float,
    depth: int,
) -> None:
    points = walk(rng, start, angle, length, rng.uniform(3, 7), jag, 0.08)
    for part in np.array_split(np.arange(len(points)), max(1, len(points) // 6)):
        draw(canvas, points[max(0, part[0] - 1) : part[-1] + 1], width * rng.uniform(0.5, 1.5), rng.uniform(0.75, 1))
    if depth:
        for at in rng.integers(0, len(points), rng.integers(0, 5)):
            turn = rng.uniform(0.3, 1.2) * rng.choice((-1, 1))
            _branch(
                rng,
                canvas,
                points[at],
                angle + turn,
                length * rng.uniform(0.2, 0.7),
                width * rng.uniform(0.5, 0.9),
                jag,
                depth - 1,
            )


def cracks(p: Print) -> None:
    """Branching, jagged, with flakes off beside them; or faint, as lightning in the emulsion."""
    rng, size = p.rng, p.size
    line = np.zeros((size, size), np.float32)
    jag, width, faint = rng.uniform(0.1, 0.7), rng.uniform(0.6, 3), rng.random() < 0.15
    for _ in range(rng.integers(1, 4)):
        _branch(
            rng,
            line,
            p.point(),
            rng.uniform(0, 2 * np.pi),
            size * rng.uniform(0.3, 1.2),
            width,
            jag,
            3 if faint else int(rng.integers(0, 3)),
        )
    if rng.random() < 0.5:
        line *= p.patchy(0.2)
    if rng.random() < 0.3:  # flakes broken off beside the crack
        near = cv2.dilate(line, np.ones((9, 9), np.uint8)) * (noise(rng, size, size / 6, 2) > 0.68)
        line = np.maximum(line, cv2.GaussianBlur(near, (0, 0), 0.7))
    if faint:  # lightning through the emulsion
        line = cv2.GaussianBlur(line, (0, 0), rng.uniform(0.6, 1.3))
    p.lay("crack", line * (rng.uniform(0.35, 0.7) if faint else rng.uniform(0.5, 1)), p.light_or_dark(0.85))
    if rng.random() < 0.6:
        _relief(p, line)


def craquelure(p: Print) -> None:
    """A net of cracks between cells, as old emulsion breaks."""
    rng, size = p.rng, p.size
    plane = cv2.Subdiv2D((-size, -size, 3 * size, 3 * size))
    count = int(rng.integers(8, 70))
    plane.insert((rng.uniform(-0.2, 1.2, (count, 2)) * size).astype(np.float32).tolist())
    line = np.zeros((size, size), np.float32)
    width = rng.uniform(0.3, 1.6)
    for cell in plane.getVoronoiFacetList([])[0]:
        cell = np.clip(cell, -size, 2 * size)
        long = np.concatenate([cell, cell[:1]])
        fine = np.concatenate([np.linspace(a, b, 6, endpoint=False) for a, b in pairwise(long)])
        draw(line, fine + rng.normal(0, rng.uniform(0.2, 1.5), fine.shape), width)
    line *= p.patchy(0.0, 4)
    p.lay("crack", line * rng.uniform(0.5, 1), p.light_or_dark(0.75))


def fold(p: Print) -> None:
    """Where the print was creased: worn white in places, with light and shade beside it."""
    rng, size = p.rng, p.size
    angle = rng.choice((0, np.pi / 2)) + rng.normal(0, 0.08) if rng.random() < 0.7 else rng.uniform(0, np.pi)
    middle = rng.uniform(0.1, 0.9, 2) * size
    along = np.array([np.cos(angle), np.sin(angle)])
    points = walk(rng, middle - along * size * 0.85, angle, size * 1.7, 5, 0.06, 0.004)
    yy, xx = np.mgrid[:size, :size].astype(np.float32)
    distance = (xx - middle[0]) * -along[1] + (yy - middle[1]) * along[0]
    reach, depth = rng.uniform(3, 40), rng.uniform(-0.3, 0.3)
    p.tint(
        (
            1
            + depth * np.exp(-np.abs(distance) / reach) * np.sign(distance) * rng.choice((0, 1))
            + rng.uniform(-0.1, 0.1) * np.exp(-np.abs(distance) / reach)
        )[..., None]
    )
    line = np.zeros((size, size), np.float32)
    draw(line, points, rng.uniform(0.7, 3.5))
    for _ in range(rng.integers(0, 4)):
        draw(line, points + rng.normal(0, 2, 2), rng.uniform(0.3, 1.2), 0.7)
    for at in rng.integers(0, len(points), rng.integers(0, 12)):  # small breaks across it
        draw(
            line,
            walk(rng, points[at], angle + rng.normal(np.pi / 2, 0.6), rng.uniform(3, 20), 3, 0.4),
            rng.uniform(0.5, 1.5),
        )
    wide = cv2.GaussianBlur(line, (0, 0), rng.uniform(1, 3)) > rng.uniform(0.1, 0.4)
    line = np.maximum(line, wide * (noise(rng, size, size / 5, 2) > rng.uniform(0.4, 0.8)))
    line *= p.patchy(rng.choice((0.0, 0.3, 0.6)), 6)
    p.lay("fold", cv2.GaussianBlur(line, (0, 0), 0.5) * rng.uniform(0.6, 1), p.light_or_dark(0.9))
    if rng.random() < 0.5:
        _relief(p, line)


def loss(p: Print) -> None:
    """Emulsion flaked off down to the paper, ragged at every scale."""
    rng, size = p.rng, p.size
    field = noise(rng, size, rng.uniform(2, 10), 5, rng.uniform(0.5, 0.85)) * 0.7 + noise(rng, size, 2) * 0.3
    share = rng.choice((0.004, 0.02, 0.06, 0.15)) * rng.uniform(0.5, 1.5)
    level = float(np.quantile(field[::4, ::4], 1 - share))
    alpha = cv2.GaussianBlur(np.clip((field - level) * rng.uniform(30, 120), 0, 1), (0, 0), 0.6)
    colour = (
        p.paper() + (noise(rng, size, 20, 2)[..., None] - 0.5) * rng.uniform(0, 30)
        if rng.random() < 0.92
        else p.light_or_dark(0)
    )
    p.lay("loss", alpha * rng.uniform(0.7, 1), colour)
    if rng.random() < 0.4:
        _relief(p, alpha)


def tear(p: Print) -> None:
    """A corner or an edge gone, or a rip into the print: scanner's lid behind it, torn white paper along it."""
    rng, size = p.rng, p.size
    yy, xx = np.mgrid[:size, :size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.3:
        angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.1)
    plane = (xx - 0.5) * np.cos(angle) + (yy - 0.5) * np.sin(angle)
    corner = 0.5 * (abs(np.cos(angle)) + abs(np.sin(angle)))
    rag = (noise(rng, size, rng.uniform(2, 6), 5, rng.uniform(0.4, 0.75)) - 0.5) * rng.uniform(0.05, 0.35)
    if rng.random() < 0.3:  # worn all round
        plane, corner, rag = np.maximum(np.abs(xx - 0.5), np.abs(yy - 0.5)), 0.5, rag * 0.3
    edge = (
        plane + rag - corner + rng.uniform(0.0, 0.3) * (0.2 if corner == 0.5 else 1)
    ) * size  # pixels past the torn edge
    gone = np.clip(edge + 0.5, 0, 1)
    rim = rng.uniform(0, 9) * (0.3 + noise(rng, size, 12, 2))
    torn = np.clip(edge + rim + 0.5, 0, 1)
    if rng.random() < 0.4:
        shade = np.exp(-np.clip(edge, 0, None) / rng.uniform(2, 8)) * rng.uniform(0, 70) * (edge > 0)
    else:
        shade = np.zeros_like(edge)
    p.lay("tear", torn, p.paper() + (noise(rng, size, size / 3)[..., None] - 0.5) * 40)
    back = lid(rng, size)
    p.lay("tear", gone, back - shade[..., None])


def lid(rng: np.random.Generator, size: int) -> Array:
    """What lies under the print: white, black or grey, nearly flat."""
    level = rng.choice((255, 250, 240, 0, 10, 25, 128)) + rng.normal(0, 3)
    return np.clip(
        level + rng.normal(0, 3, 3) + (noise(rng, size, 3)[..., None] - 0.5) * rng.uniform(0, 16), 0, 255
    ).astype(np.float32)


def stain(p: Print) -> None:
    """What was spilled and dried: a soft body, often with a darker rim."""
    rng, size = p.rng, p.size
    field = noise(rng, size, rng.uniform(1.5, 5), 3)
    level = float(np.quantile(field[::4, ::4], 1 - rng.uniform(0.01, 0.2)))
    soft = rng.uniform(8, 50)
    body = np.clip((field - level) * soft, 0, 1)
    rim = np.exp(-(((field - level) * soft - 0.5) ** 2) * rng.uniform(4, 30)) * rng.uniform(0, 0.8)
    colour = np.array(
        [(30, 70, 120), (60, 110, 150), (20, 40, 70), (90, 90, 90), (150, 200, 225), (60, 60, 60)][rng.integers(6)],
        np.float32,
    )
    alpha = np.clip(body * rng.uniform(0.2, 0.75) + rim, 0, 1) * (0.75 + 0.5 * noise(rng, size, 15, 2))
    p.lay("stain", alpha, colour + rng.normal(0, 12, 3), 0.25)


def specks(p: Print) -> None:
    """Dust, spots, mould and foxing: small bodies, sown evenly or in clouds."""
    rng, size = p.rng, p.size
    alpha = np.zeros((size, size), np.float32)
    style = rng.choice(("dust", "spots", "mould", "foxing"), p=(0.4, 0.25, 0.2, 0.15))
    count = int(
        {
            "dust": rng.integers(5, 120),
            "spots": rng.integers(1, 14),
            "mould": rng.integers(40, 250),
            "foxing": rng.integers(1, 25),
        }[style]
    )
    cloud = style == "mould" or rng.random() < 0.4
    centres = (
        np.stack([p.point() for _ in range(count)])
        if not cloud
        else p.point() + rng.normal(0, size * rng.uniform(0.06, 0.3), (count, 2))
    )
    for centre in centres:
        if style == "dust":
            axes = rng.uniform(0.4, 1.8, 2)
        elif style == "mould":
            axes = rng.gamma(1.5, 1.0, 2) + 0.4
        else:
            axes = np.full(2, min(rng.gamma(2, 2.0) + 1, 14)) * rng.uniform(0.7, 1.3, 2)
        corners = np.round(centre * 16).astype(int).tolist(), np.maximum(8, np.round(axes * 16)).astype(int).tolist()
        cv2.ellipse(alpha, corners[0], corners[1], rng.uniform(0, 180), 0, 360, rng.uniform(0.6, 1), -1, cv2.LINE_AA, 4)
    if style in ("mould", "spots", "foxing") and rng.random() < 0.8:  # ragged, not round
        alpha *= np.clip((noise(rng, size, size / 5, 2) - 0.25) * 5, 0, 1)
    if style == "foxing" or rng.random() < 0.2:
        alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.6, 2))
    colour = (
        np.array([40, 90, 140], np.float32) + rng.normal(0, 15, 3)
        if style == "foxing"
        else p.light_or_dark(0.15 if style == "mould" else 0.75)
    )
    p.lay("speck", alpha * rng.uniform(0.6, 1), colour)


def fibres(p: Print) -> None:
    """Lint on the print or the scanner's glass."""
    rng, size = p.rng, p.size
    line = np.zeros((size, size), np.float32)
    for _ in range(rng.integers(1, 8)):
        draw(
            line,
            walk(
                rng, p.point(), rng.uniform(0, 2 * np.pi), rng.uniform(8, size * 0.4), 3, 0.03, rng.uniform(0.05, 0.3)
            ),
            rng.uniform(0.4, 1.6),
        )
    p.lay("fibre", line * rng.uniform(0.6, 1), p.light_or_dark(0.7))


def tape(p: Print) -> None:
    """A yellowed or milky strip that the picture shows through."""
    rng, size = p.rng, p.size
    centre, across = p.point(), rng.uniform(0.06, 0.2) * size
    box = cv2.boxPoints((centre.tolist(), (across, size * rng.uniform(0.2, 1.2)), rng.uniform(0, 180)))
    body = np.zeros((size, size), np.float32)
    cv2.fillConvexPoly(body, np.round(box * 16).astype(np.int32), 1.0, cv2.LINE_AA, 4)
    edge = np.zeros_like(body)
    draw(edge, np.concatenate([box, box[:1]]), rng.uniform(0.6, 2))
    colour = np.array([(120, 190, 215), (80, 150, 190), (215, 225, 230)][rng.integers(3)], np.float32) + rng.normal(
        0, 10, 3
    )
    p.lay("tape", body * rng.uniform(0.3, 0.7) * (0.85 + 0.3 * noise(rng, size, 8, 3)), colour, 0.2)
    p.lay("tape", edge * rng.uniform(0.1, 0.6), p.light_or_dark(0.5))


def ink(p: Print) -> None:
    """A pen's stroke, or blots."""
    rng, size = p.rng, p.size
    body = np.zeros((size, size), np.float32)
    if rng.random() < 0.5:
        draw(
            body,
            cv2.GaussianBlur(
                walk(rng, p.point(), rng.uniform(0, 6.3), size * rng.uniform(0.3, 2), 8, 0.1, 0.6), (1, 5), 0
            ),
            rng.uniform(1.5, 5),
        )
    else:
        field = noise(rng, size, rng.uniform(3, 7), 2)
        body = np.clip((field - np.quantile(field[::4, ::4], 1 - rng.uniform(0.003, 0.04))) * 60, 0, 1).astype(
            np.float32
        )
    p.lay(
        "ink",
        body * rng.uniform(0.7, 1),
        np.array([(120, 40, 25), (30, 20, 20), (40, 30, 160), (60, 30, 90)][rng.integers(4)], np.float32),
    )


DAMAGE: tuple[tuple[Callable[[Print], None], float], ...] = (
    (scratches, 0.2), (cracks, 0.17), (craquelure, 0.04), (fold, 0.12), (loss, 0.12), (tear, 0.09),
    (stain, 0.06), (specks, 0.14), (fibres, 0.06), (tape, 0.02), (ink, 0.03),
)  # fmt: skip


def _tone(rng: np.random.Generator, image: Array) -> Array:
    """Colour, black and white, sepia, faded: (n, n, 3) float32."""
    style = rng.random()
    if style < 0.6:
        grey = image @ np.array([0.114, 0.587, 0.299], np.float32)
        grey = np.clip((grey - 128) * rng.uniform(0.55, 1.15) + 128 + rng.normal(0, 18), 0, 255)
        if style < 0.3:
            return np.repeat(grey[..., None], 3, 2)
        dark = np.array([20, 28, 40], np.float32) * rng.uniform(0, 1.6)
        light = np.array([185, 222, 245], np.float32) + rng.normal(0, 12, 3)
        return (dark + (light - dark) * (grey[..., None] / 255)).astype(np.float32)
    if style < 0.8:
        return image
    cast = rng.uniform(0.75, 1.1, 3)
    return (image * rng.uniform(0.5, 0.95) + rng.uniform(10, 70)) * cast.astype(np.float32)


def _scan(rng: np.random.Generator, image: Array) -> Array:
    """Scanner's softness, grain, and JPEG: (n, n, 3) uint8."""
    size = image.shape[0]
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0))
    if rng.random() < 0.7:
        grain = rng.standard_normal((size, size, 3 if rng.random() < 0.3 else 1), np.float32) * rng.gamma(1.5, 2.2)
        if rng.random() < 0.5:
            grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 1.2)).reshape(size, size, -1) * 1.6
        image = image + grain
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(45, 97))])[1], cv2.IMREAD_COLOR
        )
    return image


def render(
    rng: np.random.Generator,
    pictures: Pictures,
    size: int,
    whole: bool = False,
    kinds: tuple[Callable[[Print], None], ...] = (),
    pair: bool = False,
) -> tuple[Array, Array, Array]:
    """One print: the scan (size, size, 3) uint8 RGB; the kind of damage by pixel (size, size) uint8; the whole scan.

    The kind is 0 for none, 255 for what was laid on but is hardly to be seen and not to be judged. With ``pair`` the
    third is the same scan without the damage, else the scan again.

    ``whole``: no damage, half the time a photograph as it is. ``kinds``: these layers instead of a draw.
    """
    if whole and rng.random() < 0.5:
        image = np.clip(pictures(rng, size, plain=True), 0, 255).astype(np.uint8)[..., ::-1]
        return image, np.zeros((size, size), np.uint8), image
    picture = _tone(rng, pictures(rng, size))
    if rng.random() < 0.35:  # paper or canvas under the picture
        picture = picture + (noise(rng, size, rng.uniform(20, size / 2), 2)[..., None] - 0.5) * rng.uniform(0, 24)
    p = Print(np.clip(picture, 0, 255), rng)
    if not whole:
        layers, weights = zip(*DAMAGE, strict=True)
        chosen = kinds or tuple(
            layers[i] for i in rng.choice(len(layers), 1 + rng.binomial(4, 0.3), p=np.array(weights) / sum(weights))
        )
        for layer in chosen:
            layer(p)
        if rng.random() < 0.15:  # copied in black and white with its damage
            for image in (p.image, p.whole):
                image[:] = (image @ np.array([0.114, 0.587, 0.299], np.float32))[..., None]
    change = np.abs(np.clip(p.image, 0, 255) - np.clip(p.whole, 0, 255)).max(2)
    # A faint line among hair or grass is seen by nobody: it has to stand out from what is fine around it.
    grey = cv2.cvtColor(np.clip(p.whole, 0, 255).astype(np.float32), cv2.COLOR_BGR2GRAY)
    fine = cv2.GaussianBlur((grey - cv2.GaussianBlur(grey, (0, 0), 3)) ** 2, (0, 0), 5)
    seen = cv2.dilate(change, np.ones((3, 3), np.uint8)) > 14 + 0.8 * np.sqrt(fine)
    truth = np.where(seen, p.kind, 0).astype(np.uint8)
    truth[(truth == 0) & ((p.alpha > 0.1) | (change > 10))] = 255
    state = rng.bit_generator.state
    scan = _scan(rng, p.image)[..., ::-1]
    if not pair:
        return scan, truth, scan
    rng.bit_generator.state = state
    return scan, truth, _scan(rng, p.whole)[..., ::-1]
