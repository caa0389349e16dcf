#!/bin/sh
# From a fresh checkout to passed tests: sets everything up in .venv-test (with PyTorch) and checks style, types, tests.
#     ./test.sh                  everything
#     ./test.sh tests/imaging -x only pytest, with these arguments
set -eu
cd "$(dirname "$0")"
. scripts/venv.sh

if [ ! -f .venv-test/.restore-sdk-installed ] && [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
    say "Note: PyPI's PyTorch for Linux carries CUDA, several GB. A host without a GPU does well with the CPU build:"
    say "      PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu ./test.sh"
fi
install_into .venv-test "[dev]" "restore-sdk with PyTorch and the test tools (a few minutes, once)"

python=.venv-test/bin/python
if [ $# -eq 0 ]; then
    "$python" -m ruff check .
    "$python" -m mypy
    .venv-test/bin/lint-imports --no-logo
    say "The CUDA driver double, and pycuda against it (three minutes, once) ..."
    "$python" -m tests.cuda_double.build || say "It cannot be built here: the tests that need it say so."
fi
exec "$python" -m pytest "$@"
