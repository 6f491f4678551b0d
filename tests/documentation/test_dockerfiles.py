"""The Dockerfiles, as far as that goes without an engine: what they copy and install, and lint."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from documentation.guides import ROOT, check_extras

FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HADOLINT = shutil.which("hadolint")


def copied(file: Path) -> set[str]:
    """Files and folders that an image takes from the repository."""
    lines = re.findall(r"^COPY (.*) \S+$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {name for line in lines for name in line.split()}


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [file.name for file in FILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_image_gets_all_that_the_package_is_built_from(file: Path) -> None:
    project = PROJECT["project"]
    folders = set(PROJECT["tool"]["setuptools"]["package-dir"].values())
    needed = {"pyproject.toml", project["readme"], *project["license-files"], *folders}
    assert copied(file) == needed
    assert all((ROOT / name).exists() for name in needed)
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert set(let_in) == needed
    check_extras(file.read_text(encoding="utf-8"))


@pytest.mark.skipif(HADOLINT is None, reason="no hadolint on the PATH")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_linter_has_nothing_to_say(file: Path) -> None:
    done = subprocess.run([str(HADOLINT), str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
