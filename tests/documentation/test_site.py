"""The documentation site builds without a warning, and has the API in it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from documentation.guides import ROOT

ZENSICAL = shutil.which("zensical")


@pytest.mark.slow
@pytest.mark.skipif(ZENSICAL is None, reason='no zensical on the PATH: pip install ".[docs]"')
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    command = [str(ZENSICAL), "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "griffe:" not in done.stdout + done.stderr, done.stdout + done.stderr
    page = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "share of the filters kept in every layer" in page
    assert "https://fonts." not in page
