"""The guides under docs/: every command in them parses, and is run; links lead somewhere."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documentation.guides import DOCS, NOT_RUN, ROOT, Reader, blocks_of, command_lines
from prune_dl.prune.command import cli
from scenes.pictures import write_digits

FIRST = "quick-start.md"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
GUIDES = [page for page in PAGES if any(block.language == "sh" for block in blocks_of(page))]


@pytest.mark.parametrize("page", GUIDES)
def test_flags_of_every_command_exist(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those that are not run here. Transcripts may be wrong on purpose: they are run."""
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(page):
        if block.title.endswith(".toml"):
            Path(block.title).write_text(block.text, encoding="utf-8")
        for command in command_lines(block) if block.language == "sh" else ():
            if command.startswith("prune-dl "):
                assert cli.parse(shlex.split(command)[1:]) is not None


def nav_pages(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        (target,) = entry.values()
        yield from [target] if isinstance(target, str) else nav_pages(target)


def test_the_navigation_holds_every_page_once() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    assert sorted(nav_pages(settings["project"]["nav"])) == PAGES


def anchors_of(page: str) -> set[str]:
    """Anchors of a page's headings, as the site and code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings_that_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        assert (name or page) in PAGES, f"{page}: {target}"
        assert not anchor or anchor in anchors_of(name or page), f"{page}: {target}"


def test_what_was_not_run_says_so_in_its_title() -> None:
    """A block is run, is a file that is written, or shows its reader that it was not run."""
    titles = [block.title for page in GUIDES for block in blocks_of(page) if block.title]
    assert NOT_RUN in titles
    assert all(title == NOT_RUN or Path(title).suffix for title in titles)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has followed the quick start with pictures of digits."""
    folder = tmp_path_factory.mktemp("reader")
    write_digits(folder / "pictures" / "train", 1200, by_label=True, factor=4)
    write_digits(folder / "pictures" / "test", 400, first=1200, by_label=True, factor=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Reader().follow(FIRST)
    return folder


@pytest.mark.slow
def test_the_quick_start_leaves_what_it_says(started: Path) -> None:
    run = started / "runs" / "half"
    assert {"report.html", "model.onnx", "model.safetensors"} <= {x.name for x in run.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in GUIDES if page != FIRST])
def test_a_guide_can_be_followed(started: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(started)
    Reader().follow(page)
