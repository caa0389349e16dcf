"""What each part of the model learns, one class each: its networks, one batch through them, and what the losses say.

Parts are trained in this order, each on what the ones before it (frozen) predict: ``shape``, ``edge``, ``coarse``,
``repair``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training import losses
from training.discriminators import PatchDiscriminator, ProjectedDiscriminator, SmallDiscriminator, Verdict
from training.faces import Batch
from training.features import Features
from training.networks.coarse import CoarseGenerator, LookEncoder, of_one_length
from training.networks.contours import SPANS, ContourRaster, ShapeNetwork, mean_face
from training.networks.edge import EdgeDrawer, EdgeGenerator
from training.networks.edgemap import EdgeMap, luma
from training.networks.repair import RepairGenerator
from training.networks.stages import pull_push

#: What :meth:`Objective.prepare` made, by name, ``(N, ...)`` each.
Views = dict[str, Tensor]


@dataclass
class Painted:
    """What a generator made of a batch. ``fake`` is where gradients of losses are compared; the rest is the
    objective's own."""

    fake: Tensor
    real: Tensor
    hole: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)
    features: list[Tensor] = field(default_factory=list)
    real_features: list[Tensor] = field(default_factory=list)
    truth: dict[str, Verdict] = field(default_factory=dict)


class Objective(nn.Module):
    """One part. ``generator`` is trained, and ``helpers`` with it, which are needed no more after training; ``critics``
    judge it, everything else is frozen.

    ``size`` is the side of the views that it is trained on. Networks compute in bfloat16 where ``bfloat16`` says so;
    what stands between them (places of lines, gradients of grey) is too exact for that.
    """

    size: int
    generator: nn.Module
    bfloat16 = False

    def fast(self) -> torch.autocast:
        """The context in which networks run."""
        device = next(self.generator.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.bfloat16)

    def __init__(self) -> None:
        super().__init__()
        self.critics, self.helpers = nn.ModuleDict(), nn.ModuleDict()

    def prepare(self, batch: Batch) -> Views:
        """All of a batch that does not depend on what is trained, views first: it is used again where a part is
        trained on squares (``fresh`` of :class:`training.config.Part`)."""
        return vars(batch)

    def paint(self, views: Views, seen: int) -> Painted:
        """Run the generator on some prepared views. ``seen``: images since critics began to judge; negative before."""
        raise NotImplementedError

    def judge(self, painted: Painted) -> dict[str, Tensor]:
        """The critics' own losses, by name of the critic."""
        return {}

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """The generator's losses, not yet weighed."""
        raise NotImplementedError


def _squares(views: Views, side: int, scales: dict[str, int]) -> Views:
    """One square of each view, its place drawn by how much of the hole it has; where ``scales`` has a name, that map is
    so many times smaller than the view."""
    hole = views["hole"]
    shares = F.avg_pool2d(F.avg_pool2d(hole, 8), side // 8, 1)
    across = shares.shape[-1]
    places = torch.multinomial((shares.flatten(1) + 0.02).cpu(), 1).squeeze(1).tolist()

    def cut(x: Tensor, scale: int) -> Tensor:
        s = side // scale
        corners = [(place // across * 8 // scale, place % across * 8 // scale) for place in places]
        return torch.stack([x[i, :, top : top + s, left : left + s] for i, (top, left) in enumerate(corners)])

    return {name: cut(x, scales.get(name, 1)) for name, x in views.items()}


def _reduced(x: Tensor, size: int) -> Tensor:
    while x.shape[-1] > size:
        x = F.avg_pool2d(x, 2)
    return x


def _centre(points: Tensor, contour: str) -> Tensor:
    """The middle of a contour, ``(N, 2)``."""
    return points[:, SPANS[contour]].mean(1)


def _eye_distance(points: Tensor) -> Tensor:
    """Distance of the eyes' centres, ``(N, 1)``."""
    return (_centre(points, "left_eye") - _centre(points, "right_eye")).norm(dim=1, keepdim=True)


def _far_from(centre: Tensor, reach: Tensor, size: int) -> Tensor:
    """``(N, 1, size, size)``: square of each pixel's distance from ``centre``, ``(N, 2)``, in units of ``reach``."""
    places = (torch.arange(size, device=centre.device) + 0.5) / size
    x, y = (((places - centre.unsqueeze(2)) / reach.unsqueeze(2)) ** 2).unbind(1)
    return y[:, None, :, None] + x[:, None, None, :]


def _face_weight(points: Tensor, found: Tensor, size: int) -> Tensor:
    """``(N, 1, size, size)``: 4 at eyes and mouth, where one looks and which are a small part of what is painted, and 1
    far from them; after the discriminators of facial components in GFPGAN (Wang et al., CVPR 2021)."""
    reach = 0.35 * _eye_distance(points).clamp(min=0.02)
    parts = [_far_from(_centre(points, name), reach, size) for name in ("left_eye", "right_eye", "lips_outer")]
    near = torch.exp(-torch.stack(parts).amin(0)) * found.view(-1, 1, 1, 1).to(points.dtype)
    return 1.0 + 3.0 * near


def _head(points: Tensor, found: Tensor, size: int) -> Tensor:
    """``(N, 1, size, size)``: 1 at eyes, nose and mouth, about half at chin and jaw and in the hair, 0 behind the
    head; 1 everywhere where no face was found."""
    distance = _eye_distance(points).clamp(min=0.05)
    eyes = 0.5 * (_centre(points, "left_eye") + _centre(points, "right_eye"))
    inside = torch.exp(-(_far_from(eyes, distance * distance.new_tensor((1.5, 2.0)), size) ** 2))
    return torch.where(found.view(-1, 1, 1, 1) > 0.5, inside, torch.ones_like(inside))


class ShapeObjective(Objective):
    """Points along the contours of a face, of which most may be hidden; and whether there is a face."""

    size = 128

    def __init__(self, generator: ShapeNetwork) -> None:
        super().__init__()
        self.generator = generator

    def paint(self, views: Views, seen: int) -> Painted:
        """``fake`` are the points."""
        hole = views["hole"]
        guess = pull_push(views["image"], hole)
        with self.fast():
            offsets, presence = self.generator(_reduced(guess, 64), _reduced(hole, 64))
        extra = {"presence": presence.float(), "found": views["found"]}
        return Painted(offsets.float() + mean_face().to(offsets.device), views["points"], hole, extra)

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """``points``: by the distance of the eyes, hidden points first; ``presence``: of a face in the view."""
        eyes = _eye_distance(painted.real).clamp(min=0.05)
        error = (painted.fake - painted.real) / eyes.unsqueeze(2)
        error = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.05, reduction="none").sum(2)
        inside = ((painted.real > -0.1) & (painted.real < 1.1)).all(2).float()
        found = painted.extra["found"].float().unsqueeze(1)
        places = painted.real.unsqueeze(2) * 2.0 - 1.0
        hidden = F.grid_sample(painted.hole, places, align_corners=False)[:, 0, :, 0]
        weight = (0.3 + hidden) * (0.1 + inside) * found
        in_view = (inside.mean(1, keepdim=True) * found > 0.4).float()
        return {
            "points": (weight * error).sum() / weight.sum().clamp(min=1.0),
            "presence": F.binary_cross_entropy_with_logits(painted.extra["presence"], in_view),
        }


class EdgeObjective(Objective):
    """Edges of the hole. The critics see known grey only: in the true picture they would find every plausible line
    wrong but the true one. Feature matching as EdgeConnect (Nazeri et al., 2019) has it."""

    size = 256
    crop = 128

    def __init__(self, generator: EdgeDrawer, shape: ShapeNetwork) -> None:
        super().__init__()
        self.generator = generator
        self.shape = shape.requires_grad_(False)
        self.raster, self.lines = ContourRaster(256, 1.2), EdgeMap()
        self.critics = nn.ModuleDict({"near": PatchDiscriminator(3), "far": PatchDiscriminator(3, 48)})

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Views:
        """Grey, known and wanted lines, and contours, some of them left out."""
        hole = batch.hole
        guess = pull_push(batch.image, hole)
        offsets, presence = self.shape(guess, hole)
        offsets = offsets.float() + 0.002 * torch.randn_like(offsets[:, :1].float())
        heard = torch.rand_like(hole[:, :, :1, :1]) > 0.1
        contours = self.raster(offsets) * torch.sigmoid(presence.float()).view(-1, 1, 1, 1) * heard
        grey = luma(guess)
        known = self.lines(grey, hole) * (1.0 - hole)
        wanted = self.lines(luma(batch.image))
        return {"grey": grey, "known": known, "contours": contours, "hole": hole, "wanted": wanted}

    def paint(self, views: Views, seen: int) -> Painted:
        """``fake`` are completed edges of a square, ``(N, 1, 128, 128)``."""
        views = _squares(views, self.crop, {})
        hole, known = views["hole"], views["known"]
        with self.fast():
            logits = self.generator(views["grey"], known, views["contours"], hole)
        logits = logits.float()
        completed = known + hole * torch.sigmoid(logits)
        real = known + hole * views["wanted"]
        extra = {"logits": logits, "wanted": views["wanted"], "grey": views["grey"]}
        return Painted(completed, real, hole, extra)

    def _views(self, edges: Tensor, painted: Painted) -> dict[str, Tensor]:
        seen = torch.cat((edges + 0.05 * torch.rand_like(edges[:, :, :1, :1]), painted.extra["grey"], painted.hole), 1)
        return {"near": seen, "far": F.avg_pool2d(seen, 2)}

    def judge(self, painted: Painted) -> dict[str, Tensor]:
        """Hinge at full and at half size."""
        real, fake = self._views(painted.real, painted), self._views(painted.fake.detach(), painted)
        with self.fast():
            painted.truth = {name: critic(real[name]) for name, critic in self.critics.items()}
            return {
                name: losses.discriminator_hinge(painted.truth[name][0], critic(fake[name])[0], painted.hole)
                for name, critic in self.critics.items()
            }

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """``strength`` and ``dice`` against the true lines, ``adversarial`` and ``matching`` by the critics."""
        found = {
            "strength": losses.edge_strength(painted.extra["logits"], painted.extra["wanted"], painted.hole),
            "dice": losses.dice(*(_reduced(each, 64) for each in (painted.fake, painted.real, painted.hole))),
        }
        if adversarial:
            views = self._views(painted.fake, painted)
            with self.fast():
                fake = {name: critic(views[name]) for name, critic in self.critics.items()}
            found["adversarial"] = losses.generator_hinge([v for each in fake.values() for v in each[0]], painted.hole)
            found["matching"] = torch.stack(
                [losses.feature_matching(painted.truth[name][1], fake[name][1]) for name in fake]
            ).mean()
        return found


class _Photographs(Objective):
    """What coarse and repair stage share: a picture judged by frozen features and their discriminator, and by a small
    discriminator of pixels, which knows the hole and sees what features do not mind: tint, lattices, grain and seams.

    Args:
        reach: of the loss along the rim, in pixels of the pictures that are judged.
        enlarged: what pictures are enlarged by before the features see them.
        blur: standard deviation at the beginning, in pixels, of a blur of all that critics see, and the images over
            which it fades: without it they win at once (StyleGAN-XL: Sauer et al., SIGGRAPH 2022).
    """

    def __init__(self, strides: tuple[int, ...], mixed: tuple[int, ...], reach: int, enlarged: int,
                 blur: tuple[float, int]) -> None:  # fmt: skip
        super().__init__()
        self.features = Features(0, strides)
        self.reach, self.enlarged, self.blur = reach, enlarged, blur
        self.critics["projected"] = ProjectedDiscriminator(
            self._scales(), self.features.channels, mixed, whole=4 if max(strides) == 32 else 0
        )
        self.critics["small"] = SmallDiscriminator()

    def _scales(self) -> list[float]:
        """About one over the size of each scale's features, found on noise with the spectrum of a photograph."""
        generator = torch.Generator().manual_seed(5)
        picture = torch.zeros(4, 3, 128, 128)
        for level in range(1, 7):
            noise = torch.randn(4, 3, 2**level, 2**level, generator=generator)
            picture = picture + 0.25 * F.interpolate(noise, size=128, mode="bilinear", align_corners=False)
        with torch.no_grad():
            return [1.0 / float(each.std()) for each in self.features(picture.clamp(-1.0, 1.0))]

    def sees(self, painted: Painted, seen: int) -> None:
        """Show the features both pictures: with the same other light, so that critics do not judge the tint (the
        losses hold it), and blurred."""
        n = len(painted.fake)
        gain = 1.0 + 0.1 * (2.0 * torch.rand(n, 1, 1, 1, device=painted.fake.device) - 1.0)
        shift = 0.1 * (2.0 * torch.rand(n, 1, 1, 1, device=painted.fake.device) - 1.0)
        sigma = self.blur[0] * max(0.0, 1.0 - seen / max(self.blur[1], 1)) if seen >= 0 else 0.0
        fake, real = (_blurred(each * gain + shift, sigma) for each in (painted.fake, painted.real))
        painted.extra |= {"fake": fake, "real": real}
        with self.fast():
            painted.features = self.features(self._enlarged(fake))
        with torch.no_grad(), self.fast():
            painted.real_features = self.features(self._enlarged(real))

    def _enlarged(self, x: Tensor) -> Tensor:
        return x if self.enlarged == 1 else F.interpolate(x, scale_factor=self.enlarged, mode="bilinear")

    def _trust(self, painted: Painted) -> Tensor:
        """How much the true features are asked for, place by place: where they cannot be known they ask for a blur, the
        mean of all faces, and critics see more."""
        return 0.3 + 0.7 * losses.near_known(painted.hole, self.reach)

    def _bold(self, painted: Painted) -> Tensor:
        """How much invention each place is asked for."""
        return torch.ones_like(painted.hole)

    def _judged(self, painted: Painted) -> Tensor:
        """How much the critics' verdict on each place counts."""
        return self._bold(painted) * painted.extra["face"]

    def _colour(self, painted: Painted, trust: Tensor) -> Tensor:
        return losses.colour(painted.fake, painted.real, painted.hole, trust)

    def _beside(self, picture: Tensor, painted: Painted) -> Tensor:
        return torch.cat((picture, painted.hole), 1)

    def judge(self, painted: Painted) -> dict[str, Tensor]:
        """Hinge of both discriminators."""
        projected, small = self.critics["projected"], self.critics["small"]
        with self.fast():
            real, fake = projected(painted.real_features)[0], projected([each.detach() for each in painted.features])[0]
            pixels_real = small(self._beside(painted.extra["real"], painted))[0]
            pixels_fake = small(self._beside(painted.extra["fake"].detach(), painted))[0]
        return {
            "projected": losses.discriminator_hinge(real, fake, painted.hole, self._judged(painted)),
            "small": losses.discriminator_hinge(pixels_real, pixels_fake, painted.hole, self._judged(painted)),
        }

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """``l1``, ``colour``, ``rim``, ``perceptual``, ``texture``, ``adversarial``, ``small``."""
        fake, real, hole, trust = painted.fake, painted.real, painted.hole, self._trust(painted)
        judged = self._judged(painted)
        found = {
            "l1": losses.hole_l1(fake, real, hole),
            "colour": self._colour(painted, trust),
            "rim": losses.rim_l1(fake, real, hole, self.reach),
            "perceptual": losses.perceptual(
                painted.features, painted.real_features, hole, trust * painted.extra["face"]
            ),
            "texture": losses.texture(painted.features[:2], painted.real_features[:2], hole, self._bold(painted)),
        }
        if adversarial:
            with self.fast():
                verdicts = self.critics["projected"](painted.features)[0]
                of_pixels = self.critics["small"](self._beside(painted.extra["fake"], painted))[0]
            found["adversarial"] = losses.generator_hinge(verdicts, hole, judged)
            found["small"] = losses.generator_hinge(of_pixels, hole, judged)
        return found


def _blurred(x: Tensor, sigma: float) -> Tensor:
    if sigma < 0.15:
        return x
    taps = torch.exp(-torch.arange(-4.0, 5.0, device=x.device).square() / (2.0 * sigma * sigma))
    taps = (taps / taps.sum()).view(1, 1, 1, 9).expand(x.shape[1], 1, 1, 9)
    x = F.conv2d(F.pad(x, (4, 4, 0, 0), mode="reflect"), taps, groups=x.shape[1])
    return F.conv2d(F.pad(x, (0, 0, 4, 4), mode="reflect"), taps.transpose(2, 3), groups=x.shape[1])


class CoarseObjective(_Photographs):
    """The hole at 64 px: here it is decided whose face it is."""

    size = 128

    def __init__(self, generator: CoarseGenerator, shape: ShapeNetwork) -> None:
        super().__init__((2, 4, 8, 16, 32), (24, 32, 64, 128, 192), reach=7, enlarged=2, blur=(1.2, 16_000))
        self.generator = generator
        self.shape = shape.requires_grad_(False)
        self.raster = ContourRaster(self.size, 0.6)
        self.helpers["look"] = LookEncoder(generator.look)

    def paint(self, views: Views, seen: int) -> Painted:
        """``fake`` is the composed picture, ``(N, 3, 64, 64)``."""
        image, hole = views["image"], views["hole"]
        guess = pull_push(image, hole)
        with torch.no_grad():
            offsets, presence = self.shape(guess, hole)
            # some true contours, so that they are believed; the rest as they will be
            true = (torch.rand(len(offsets), 1, 1, device=offsets.device) < 0.25) & views["found"].view(-1, 1, 1)
            offsets = torch.where(true, views["points"] - mean_face().to(offsets.device), offsets.float())
            offsets = offsets + 0.004 * torch.randn_like(offsets[:, :1]) + 0.001 * torch.randn_like(offsets)
            edges = self.raster(offsets) * torch.sigmoid(presence.float()).view(-1, 1, 1, 1)
            edges = edges * (torch.rand_like(hole[:, :, :1, :1]) > 0.1)
        with self.fast():
            look = of_one_length(self.helpers["look"](_reduced(image, 64)).float())
            told = torch.rand_like(look[:, :1]) < 0.5
            noisy = of_one_length(look + 0.3 * torch.randn_like(look))
            _, residual, guessed = self.generator.decide(guess, edges, hole, noisy, told)
            extra = {"told": told.view(-1, 1, 1, 1).float(), "look": (guessed - look.detach()).square().mean()}
        residual = residual.float()
        image, hole, guess = (_reduced(each, 64) for each in (image, hole, guess))
        extra["face"] = _face_weight(views["points"], views["found"], 64)
        extra["head"] = _head(views["points"], views["found"], 64)
        painted = Painted(image + hole * (guess + residual - image), image, hole, extra)
        self.sees(painted, seen)
        return painted

    def _trust(self, painted: Painted) -> Tensor:
        """All of it where the true look was told, and behind the head: a blur looks natural there."""
        trust = torch.maximum(super()._trust(painted), 1.0 - painted.extra["head"])
        return torch.maximum(trust, painted.extra["told"])

    def _bold(self, painted: Painted) -> Tensor:
        """Little behind the head: nobody can know what is there, and critics liked gaudy blotches there."""
        return 0.01 + 0.99 * painted.extra["head"]

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """Those of all photographs, ``grid`` against lattices, 8 px wide ones of the whole path from 8 x 8 among them,
        and ``look``: that it is guessed."""
        found = super().parts(painted, adversarial)
        grids = [losses.pixel_grid(painted.fake, painted.real, size) for size in (2, 4, 8)]
        return found | {"grid": torch.stack(grids).sum(), "look": painted.extra["look"]}


class RepairObjective(_Photographs):
    """The hole at 256 px, on what edge stage and coarse generator made; judged on a square of 128 px that has much of
    the hole, where a step takes a quarter of the time."""

    size = 256
    crop = 128

    def __init__(self, generator: RepairGenerator, shape: ShapeNetwork, edge: EdgeDrawer) -> None:
        super().__init__((2, 4, 8, 16), (24, 32, 64, 128), reach=17, enlarged=1, blur=(1.5, 12_000))
        self.generator = generator
        self.edges = EdgeGenerator(shape, edge).requires_grad_(False)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> Views:
        """What comes before the fine part. Half of the views are given the true picture at 64 px, a little spoilt: what
        is left there is to see detail, not to guess a face, and a loss by pixels does not blur it (cascades train on
        spoilt conditions: Ho et al., "Cascaded diffusion models", JMLR 2022)."""
        image, hole = batch.image, batch.hole
        guess = pull_push(image, hole)
        edges = self.edges(guess, hole)
        with self.fast():
            features, residual = self.generator.coarse(guess, edges, hole)
        features, residual = features.float(), residual.float()
        true = _blurred(_reduced(image - guess, residual.shape[-1]), float(torch.rand(())) * 0.7)
        true = true + 0.05 * torch.rand_like(hole[:, :, :1, :1]) * torch.randn_like(true)
        shown = torch.rand_like(hole[:, :, :1, :1]) < 0.5
        features, residual = features * ~shown, torch.where(shown, true, residual)
        coarse = F.interpolate(residual, size=self.size, mode="bilinear", align_corners=False)
        noise = self.generator.noise.expand(len(image), -1, -1, -1)
        return {"image": image, "hole": hole, "guess": guess, "edges": edges, "coarse": coarse, "noise": noise,
                "features": features, "shown": shown.float(),
                "face": _face_weight(batch.points, batch.found, self.size)}  # fmt: skip

    def paint(self, views: Views, seen: int) -> Painted:
        """``fake`` is a square of the composed picture, ``(N, 3, 128, 128)``."""
        shown = views["shown"]
        views = _squares({name: each for name, each in views.items() if name != "shown"}, self.crop, {"features": 8})
        image, hole, guess = views["image"], views["hole"], views["guess"]
        with self.fast():
            residual = self.generator.refine(
                guess, views["edges"], hole, views["features"], views["coarse"], views["noise"]
            )
        decided = image + hole * (guess + views["coarse"] - image)
        extra = {"shown": shown, "decided": decided, "face": views["face"]}
        painted = Painted(image + hole * (guess + residual.float() - image), image, hole, extra)
        self.sees(painted, seen)
        return painted

    def _trust(self, painted: Painted) -> Tensor:
        """All of it where the true picture was shown at 64 px."""
        return torch.maximum(super()._trust(painted), painted.extra["shown"])

    def _colour(self, painted: Painted, trust: Tensor) -> Tensor:
        """Holds what was decided at 64 px: this part paints it, and does not decide again."""
        return losses.colour(painted.fake, painted.extra["decided"], painted.hole, size=32)

    def parts(self, painted: Painted, adversarial: bool) -> dict[str, Tensor]:
        """Those of all photographs, and ``grid`` against the patterns of both pixel shuffles, 4 and 8 px wide; the
        latter is the JPEG blocks' as well, which critics see in photographs and would have drawn."""
        found = super().parts(painted, adversarial)
        grids = [losses.pixel_grid(painted.fake, painted.real, size) for size in (4, 8)]
        return found | {"grid": torch.stack(grids).sum()}
