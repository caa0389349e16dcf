"""The Dockerfile: its rules, its command on a file system that cannot be written, and a real build where one can be."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.serve.conftest import ROOT, Service, files

Stages = list[dict[str, list[str]]]

#: Starts a command where everything is read-only, in a namespace of mounts of its own; 98 where that cannot be made.
READ_ONLY = """mount --rbind / /mnt && mount -o remount,bind,ro /mnt || exit 98; here=$PWD
exec chroot /mnt sh -c 'cd "$0" && ! touch /tmp/written && exec "$@"' "$here" "$@" """


@pytest.fixture(scope="module")
def stages() -> Stages:
    """The Dockerfile's stages: what stands behind each instruction."""
    found: Stages = []
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    for name, rest in re.findall(r"^([A-Z]+) +(.*)", text, re.MULTILINE):
        if name == "FROM":
            found.append({})
        found[-1].setdefault(name, []).append(rest)
    return found


def command(stages: Stages) -> list[str]:
    return [*json.loads(stages[-1]["ENTRYPOINT"][0]), *json.loads(stages[-1]["CMD"][0])]


def test_the_dockerfile_keeps_the_rules(stages: Stages) -> None:
    build, last = stages
    assert build["FROM"][0].split()[0] == last["FROM"][0], "one base"
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", last["FROM"][0]), "a base that is named"
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", last["USER"][0]), "no root, in numbers that Kubernetes can check"
    assert not {"ADD", "VOLUME"} & {*build, *last}
    assert all("--from=build" in each for each in last["COPY"]), "nothing of the build's tools"
    assert "--require-hashes" in build["RUN"][1]
    listed = (ROOT / ".dockerignore").read_text().splitlines()
    for source in (name for each in build["COPY"] for name in each.split()[:-1]):
        assert (ROOT / source).exists()
        assert f"!{source}" in listed
    assert command(stages)[:6] == ["restore-sdk", "serve", "--host", "0.0.0.0", "--port", *last["EXPOSE"]]
    assert f":{last['EXPOSE'][0]}/healthz" in json.loads(last["HEALTHCHECK"][0].partition("CMD ")[2])[2]


def test_its_command_needs_no_file_system_that_can_be_written(stages: Stages) -> None:
    alone = ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"]).returncode:
        pytest.skip("no namespace of mounts here")
    arguments = [*command(stages)[1:], "--port", "0"]
    start = [*alone, sys.executable, "-m", "restore_sdk", *arguments]
    with subprocess.Popen(start, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            service = Service(process)
            assert service.restore(*files()).image().shape == (256, 256, 3)
        finally:
            process.kill()


def until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.mark.slow
def test_it_builds_and_becomes_healthy() -> None:
    def docker(*arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no container builder here")
    image = docker("build", "-q", ".")
    name = docker("run", "-d", "--rm", "--read-only", "--cap-drop", "ALL", image)
    try:
        until(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", name) == "healthy", 120)
    finally:
        docker("kill", name)
