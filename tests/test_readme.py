"""What the documentation says: commands parse, the snippet runs, paths and modules are there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
from prune_dl.prune.command import cli

ROOT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/browser/README.md"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
README = TEXTS["README.md"]
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```\n(.*?)```", README, re.DOTALL)
    for line in map(str.strip, block.splitlines())
    if line.startswith("prune-dl ")
]
FOLDERS = ("prune", "export", "evaluate", "tests", "docs", "examples", ".ci")
"""Folders of this repository; what a command writes, such as `runs/`, is not among them."""
SOURCES = (".py", ".md", ".toml", ".html")
MADE_BY_COMMANDS = {"report.html", "tradeoff.html", "filters.html", "page.md", "README.md"}
"""Names without a folder that are files of an output folder."""


def code_of(page: str) -> str:
    """What stands in backquotes, in fences, or is indented by four."""
    text = TEXTS[page]
    fences = re.findall(r"```[^`\n]*\n(.*?)```", text, re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join(
        [*fences, *re.findall(r"`([^`]+)`", text), *re.findall(r"^    .*", text, re.M)]
    )


def paths_of(page: str) -> set[str]:
    """Sources and folders that a page names, from this repository's root."""
    words = re.findall(r"(?<![\w./:-])[\w.][\w./-]*", code_of(page))
    inside = {word.rstrip("/") for word in words if word.split("/")[0] in FOLDERS and "/" in word}
    return {path for path in inside if path.endswith(SOURCES) or "." not in Path(path).name}


def file_names_of(page: str) -> set[str]:
    """Sources that a page names without their folder."""
    words = re.findall(r"(?<![\w./-])(\w+\.(?:py|html))(?![\w/])", code_of(page))
    return set(words) - MADE_BY_COMMANDS


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_flags_that_exist(command: str) -> None:
    assert cli.parse(shlex.split(command)[1:]) is not None


def test_the_python_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(snippet, "README.md", "exec"), {})
    assert "applies=True" in capsys.readouterr().out


def test_links_of_the_readme_also_work_on_the_package_index() -> None:
    """It shows the README alone: what is relative leads nowhere there, and is named as a path."""
    targets = re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", README)
    assert targets
    assert all(target.startswith("https://") for target in targets)


def test_the_picture_of_the_readme_is_there_and_light() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert 0 < (ROOT / picture).stat().st_size < 200_000
    assert picture in code_of("README.md")  # of the command that makes it


def test_every_flag_of_the_job_is_in_the_page_of_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.run(["prune", "--help"])
    line = r"^(?:│ |  )((?:-\w, )?--\S+(?:, --\S+)*)"
    options = " ".join(re.findall(line, capsys.readouterr().out, re.MULTILINE))
    flags = set(re.findall(r"--[a-z][a-z-]+", options)) - {"--help"}
    named = set(re.findall(r"--[a-z][a-z-]+", TEXTS["docs/command-line.md"]))
    assert len(flags) > 50
    assert {switch_of(flag) for flag in flags} == {switch_of(flag) for flag in named}


def switch_of(flag: str) -> str:
    """A switch and its opposite are one."""
    return flag.replace("--no-", "--")


def test_paths_are_found() -> None:
    assert {"prune/structure", "docs/command-line.md"} <= paths_of("README.md")
    assert "prune/selection/custom.py" in paths_of("docs/command-line.md")
    assert "tests/benchmarks/one_pass.py" in paths_of("docs/mechanism.md")
    assert "clusters.py" in file_names_of("docs/mechanism.md")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    missing = sorted(path for path in paths_of(page) if not (ROOT / path).exists())
    assert not missing, f"{page} names {missing}"
    sources = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")}
    missing = sorted(file_names_of(page) - sources)
    assert not missing, f"{page} names {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_imports_exists(page: str) -> None:
    for module, names in re.findall(r"from (prune_dl[\w.]*) import ([\w, ]+)", code_of(page)):
        for name in names.split(","):
            assert hasattr(importlib.import_module(module), name.split()[0]), f"{module}: {name}"
    for name in re.findall(r"(?<![\w.])prune_dl(?:\.\w+)+", code_of(page)):
        importlib.import_module(name)


@pytest.mark.slow
def test_the_demo_leaves_a_report(tmp_path: Path) -> None:
    assert cli.run(["demo", "--out", str(tmp_path / "demo"), "--json"]) == 0
    assert (tmp_path / "demo" / "pruned" / "report.html").stat().st_size > 100_000
