"""The recipes work from the wheel, where there is no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from restore_sdk.engines.edition import TensorRT
from restore_sdk.engines.recipe import names

ROOT = Path(__file__).resolve().parents[2]


CODE = """
import sys
from restore_sdk.cli import main as cli
print(cli.__file__)
sys.exit(cli.main(["build", "--list"]) or cli.main(["build", "--target", "rtx4090", "--store", "store"]))
"""


def test_the_recipes_work_from_the_wheel(tmp_path: Path, rtx: TensorRT) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith("engines/")]
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "CUDA_VISIBLE_DEVICES": ""},
    )
    file, *rows = done.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path / "site")
    assert [row.split()[0] for row in rows[: len(names())]] == names()
    assert rows[len(names())].startswith("rtx4090: default")
    assert len(list((tmp_path / "store").glob("*.plan"))) == 2
