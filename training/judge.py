"""An independent judge of faces: whether a detector finds them, where their landmarks are, whose they are.

Uses dlib's detector, its 68 landmarks and its face descriptor (packages ``dlib-bin`` and ``face-recognition-models``,
an extra). They judge only: **nothing of them may be trained on**, or they would no longer be independent.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from training.data import DataError, Image

#: Landmarks from here on are brows, nose, eyes and mouth; before are the jaw's.
_INNER = 17


def available() -> bool:
    """Whether the packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models"))


@cache
def _models() -> tuple[Any, Any, Any]:
    import dlib  # type: ignore[import-not-found]

    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise DataError("face-recognition-models is missing: pip install face-recognition-models.")
    folder = Path(spec.origin).parent / "models"
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(folder / "shape_predictor_68_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat")),
    )


@dataclass
class FaceCounts:
    """What the judge says of restored faces, beside the originals."""

    found: list[bool] = field(default_factory=list)
    surer: list[float] = field(default_factory=list)
    landmarks: list[float] = field(default_factory=list)
    identity: list[float] = field(default_factory=list)

    def add(self, restored: Image, image: Image) -> None:
        """Count one pair, ``(H, W, 3)`` RGB ``uint8``; one whose original has no face for the detector is left out."""
        detector, predictor, describer = _models()
        image, restored = np.ascontiguousarray(image), np.ascontiguousarray(restored)
        boxes, scores, _ = detector.run(image, 1, 0.0)
        if not len(boxes):
            return
        box = boxes[0]
        others, other_scores, _ = detector.run(restored, 1, -0.5)
        same = [score for each, score in zip(others, other_scores, strict=True)
                if each.intersect(box).area() > 0.4 * box.area()]  # fmt: skip
        self.found.append(max(same, default=-1.0) >= 0.0)
        self.surer.append(max(same, default=-0.5) - scores[0])
        true, ours = predictor(image, box), predictor(restored, box)
        there, here = (np.array([[p.x, p.y] for p in each.parts()], float) for each in (true, ours))
        eyes = float(np.linalg.norm(there[36:42].mean(0) - there[42:48].mean(0)))
        self.landmarks.append(float(np.linalg.norm((there - here)[_INNER:], axis=1).mean()) / max(eyes, 1.0))
        descriptors = [np.array(describer.compute_face_descriptor(*each)) for each in ((image, true), (restored, ours))]
        self.identity.append(float(np.linalg.norm(descriptors[0] - descriptors[1])))

    def to_json(self) -> dict[str, float]:
        """``found``: the share of faces that the detector finds; ``landmarks``: mean error of brows, nose, eyes and
        mouth, in percent of the distance of the eyes; ``identity``: distance of the descriptors (dlib calls two
        pictures one person below 0.6)."""
        if not self.found:
            return {}
        return {
            "found": round(float(np.mean(self.found)), 3),
            "score": round(float(np.mean(self.surer)), 3),
            "landmarks": round(100.0 * float(np.mean(self.landmarks)), 2),
            "identity": round(float(np.mean(self.identity)), 3),
        }
