"""Label contours of faces with MediaPipe's face mesh: ``python training/label.py FACES LABELS.npz``.

Runs in an environment of its own, since MediaPipe with its model inside (0.10.21, Apache-2.0) wants an older NumPy:

    pip install "numpy<2" absl-py attrs flatbuffers "protobuf<5" matplotlib opencv-python-headless
    pip install --no-deps mediapipe==0.10.21

Writes ``names`` (paths within FACES), ``points`` ``(N, P, 2)``, x and y in 0..1 of the centred square, and ``glasses``
``(N,)``, how clearly a line crosses the bridge of the nose, of the faces that were found. About 15 ms a face.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def contour_points() -> list[int]:
    """The numbers of the mesh's points, in the order of ``training/networks/contours.py``, which cannot be imported
    where there is no PyTorch."""
    source = (Path(__file__).parent / "networks" / "contours.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CONTOURS" and node.value:
            return [point for points, _ in ast.literal_eval(node.value).values() for point in points]
    raise SystemExit("training/networks/contours.py lists no CONTOURS.")


def glasses(grey: NDArray[np.uint8], right: NDArray[np.float32], left: NDArray[np.float32]) -> float:
    """How clearly a line crosses the bridge of the nose. Of 240 faces looked at, 41 were above 0.46; 38 of these wore
    glasses, and 9 of the others.

    ``right`` and ``left`` are the centres of the eyes, x and y in pixels of ``grey`` ``(256, 256)``.
    """
    across = left - right
    cos, sin = across * 48.0 / (across @ across)
    turn = np.array([[cos, sin], [-sin, cos]])
    warp = np.column_stack([turn, np.array([40.0, 32.0]) - turn @ right])  # eyes at (40, 32) and (88, 32)
    view = cv2.warpAffine(grey, warp, (128, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bridge = view[12:46, 54:74].mean(1)
    return float(np.abs(bridge[2:] - bridge[:-2]).max() / (view.std() + 20.0))


def main() -> None:
    """Label a folder."""
    import mediapipe  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("labels", type=Path)
    arguments = parser.parse_args()
    chosen, names, found, worn = contour_points(), [], [], []
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
    )
    files = sorted(p for p in arguments.faces.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    for count, path in enumerate(files, 1):
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            continue
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        rgb = np.ascontiguousarray(image[top : top + side, left : left + side, ::-1])
        rim = 0
        answer = mesh.process(rgb).multi_face_landmarks
        if not answer:  # a face that fills its picture is found with some room around it
            rim = side // 4
            answer = mesh.process(cv2.copyMakeBorder(rgb, *(rim,) * 4, cv2.BORDER_REFLECT_101)).multi_face_landmarks
        if answer:
            mesh_points = np.array([[p.x, p.y] for p in answer[0].landmark], np.float32)
            places = (mesh_points * (side + 2 * rim) - rim) / side
            found.append(places[chosen])
            grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (256, 256), interpolation=cv2.INTER_AREA)
            eyes = 256 * places[[33, 133, 263, 362]].reshape(2, 2, 2).mean(1)  # the corners of the right, of the left
            worn.append(glasses(grey, *eyes))
            names.append(path.relative_to(arguments.faces).as_posix())
        if count % 1000 == 0:
            print(f"{count} of {len(files)}, {len(names)} found", flush=True)
    if not names:
        raise SystemExit(f"No face found below {arguments.faces}.")
    points = np.stack(found).astype(np.float32)
    np.savez_compressed(arguments.labels, names=np.array(names), points=points, glasses=np.array(worn, np.float32))
    print(f"{len(names)} of {len(files)} labelled: {arguments.labels}")


if __name__ == "__main__":
    main()
