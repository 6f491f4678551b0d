"""The picture of a page: made by the browser that is there, refused in a line without one."""

import shutil
from pathlib import Path

import page_picture
import pytest
from PIL import Image

PAGE = "<!doctype html><title>x</title><body style='background: rgb(10, 120, 117)'>"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "report.html"
    file.write_text(PAGE, encoding="utf-8")
    return file


def test_what_is_missing_is_one_line(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/nowhere/{name}")
    assert page_picture.main([str(page.with_name("no.html")), "x.png"]) == 3
    assert "no.html is no file; expected a page" in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert page_picture.main([str(page), "x.png"]) == 3
    assert "no chromium or google-chrome or chrome on the PATH" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, page_picture.BROWSERS)), reason="neither Chromium nor Chrome is here"
)
def test_a_page_is_pictured_in_the_size_asked_for(page: Path) -> None:
    picture = page.parent / "new" / "page.png"
    size = ["--width", "400", "--height", "300"]
    assert page_picture.main([str(page), str(picture), *size]) == 0
    with Image.open(picture) as image:
        assert image.size == (400, 300)
        assert image.convert("RGB").getpixel((200, 150)) == (10, 120, 117)
