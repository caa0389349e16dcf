#!/bin/sh
# From a fresh checkout to a restored photograph: sets everything up in .venv (no PyTorch) and restores the example.
#     ./demo.sh
set -eu
cd "$(dirname "$0")"
. scripts/venv.sh

install_into .venv "" "restore-sdk with NumPy, OpenCV and ONNX Runtime (about 100 MB to download, once)"
.venv/bin/restore-sdk restore examples/portrait_damaged.png --mask examples/portrait_mask.png \
    -o restored.png

cat <<TEXT

The restored photograph:  $(pwd)/restored.png
The damaged one:          $(pwd)/examples/portrait_damaged.png
Your own:                 .venv/bin/restore-sdk restore PHOTO --mask MASK -o OUT    (white in the mask is what to repaint)
TEXT
