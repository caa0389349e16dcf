"""Label contours of faces with MediaPipe's face mesh: ``python training/label.py FACES LABELS.npz``.

Runs in an environment of its own, since MediaPipe with its model inside (0.10.21, Apache-2.0) wants an older NumPy:

    pip install "numpy<2" absl-py attrs flatbuffers "protobuf<5" matplotlib opencv-python-headless
    pip install --no-deps mediapipe==0.10.21

Writes ``names`` (paths within FACES) and ``points`` ``(N, P, 2)``, x and y in 0..1 of the centred square, of the faces
that were found. About 15 ms a face.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import cv2
import numpy as np


def contour_points() -> list[int]:
    """The numbers of the mesh's points, in the order of ``training/networks/contours.py``, which cannot be imported
    where there is no PyTorch."""
    source = (Path(__file__).parent / "networks" / "contours.py").read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CONTOURS" and node.value:
            return [point for points, _ in ast.literal_eval(node.value).values() for point in points]
    raise SystemExit("training/networks/contours.py lists no CONTOURS.")


def main() -> None:
    """Label a folder."""
    import mediapipe  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("labels", type=Path)
    arguments = parser.parse_args()
    chosen, names, found = contour_points(), [], []
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
            points = np.array([[p.x, p.y] for p in answer[0].landmark], np.float32)[chosen]
            found.append((points * (side + 2 * rim) - rim) / side)
            names.append(path.relative_to(arguments.faces).as_posix())
        if count % 1000 == 0:
            print(f"{count} of {len(files)}, {len(names)} found", flush=True)
    if not names:
        raise SystemExit(f"No face found below {arguments.faces}.")
    np.savez_compressed(arguments.labels, names=np.array(names), points=np.stack(found).astype(np.float32))
    print(f"{len(names)} of {len(files)} labelled: {arguments.labels}")


if __name__ == "__main__":
    main()
