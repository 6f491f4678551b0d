"""The house rules that a machine can hold: rooms in order, names, one owner each, the API."""

import ast
import doctest
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from inspect import signature
from pathlib import Path

import prune_dl.prune as api
import pytest
from prune_dl.prune.command.flags import PHRASES, dashed, in_flags, leaves
from prune_dl.prune.command.trees import COMMANDS, Job
from prune_dl.prune.job_options import JobOptions

ROOT = Path(__file__).parents[1]
ORDER = [
    "prune/errors",
    "prune/terminal",
    "prune/tracking",
    "prune/progress",
    "prune/typed",
    "prune/shown",
    "prune/files",
    "prune/lock",
    "prune/machine",
    "prune/budget",
    "prune/options",
    "prune/checks",
    "prune/folder",
    "prune/forward",
    "prune/outputs",
    "prune/chosen_output",
    "prune/structure",
    "prune/centring",
    "prune/linear_algebra",
    "prune/bootstrap",
    "prune/average_precision",
    "prune/scores",
    "prune/output_score",
    "prune/tasks",
    "prune/inputs",
    "prune/mechanism",
    "prune/selection",
    "prune/repair",
    "prune/training",
    "export",
    "evaluate/measure",
    "prune/settling",
    "evaluate/report",
    "prune/job",
    "prune/job_options",
    "prune/results",
    "prune/by_labels",
    "prune/by_outputs",
    "prune/api",
    "prune/integrations",
    "prune/command",
    "prune/__main__",
]
"""From left to right. The seam between the folders: `export` and `evaluate` know networks, data and
files, but neither the job nor the commands, which stand to the right of them."""
STRUCTURE = Path("prune", "structure")
TRACING = STRUCTURE / "tracing"
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("prune", "export", "evaluate")
    for path in (ROOT / folder).rglob("*.py")
    if path.name != "__init__.py"
)


def text_of(source: Path) -> str:
    return (ROOT / source).read_text(encoding="utf-8")


def place(module: str) -> int:
    """Position of a module ("prune/selection/criteria") in the order of the data flow."""
    return next(
        i for i, name in enumerate(ORDER) if module == name or module.startswith(name + "/")
    )


def imported(source: Path) -> set[str]:
    """Modules of the product that a file imports, as paths without suffix."""
    found = set()
    for node in ast.walk(ast.parse(text_of(source))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = source.parent
        for _ in range(node.level - 1):
            base = base.parent
        target = base.joinpath(*(node.module or "").split(".")) if node.module else base
        names = [target / alias.name for alias in node.names]
        for path in [target, *names]:
            if (ROOT / path).with_suffix(".py").exists():
                found.add(path.as_posix())
    return found


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_a_module_imports_only_from_its_left(source: Path) -> None:
    here = place(source.with_suffix("").as_posix())
    for module in imported(source):
        assert place(module) <= here, f"{source} imports {module}, which lies to its right"


@pytest.mark.parametrize("source", [x for x in SOURCES if x.parent == STRUCTURE], ids=str)
def test_what_a_trace_finds_knows_nothing_of_how_it_is_found(source: Path) -> None:
    """Units, plans, cuts, surgery and costs do not import the tracer, which imports them."""
    assert not [module for module in imported(source) if Path(module).is_relative_to(TRACING)]


@pytest.mark.parametrize("source", [x for x in SOURCES if ">>> " in text_of(x)], ids=str)
def test_examples_in_docstrings_run(source: Path) -> None:
    module = importlib.import_module(".".join(("prune_dl", *source.with_suffix("").parts)))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {source.with_suffix("").as_posix(): imported(source) for source in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def definitions(source: Path) -> list[str]:
    """Public functions and classes of a module."""
    nodes = ast.parse(text_of(source)).body
    defined = [x.name for x in nodes if isinstance(x, ast.FunctionDef | ast.ClassDef)]
    return [name for name in defined if not name.startswith("_")]


def test_no_two_public_functions_or_classes_share_a_name() -> None:
    counts = Counter(name for source in SOURCES for name in definitions(source))
    assert not [name for name, count in counts.items() if count > 1]


def calls(source: Path) -> Iterator[str]:
    """The last name of everything that a module calls."""
    for node in ast.walk(ast.parse(text_of(source))):
        if isinstance(node, ast.Call):
            function = node.func
            yield (
                function.attr
                if isinstance(function, ast.Attribute)
                else getattr(function, "id", "")
            )


@pytest.mark.parametrize(
    ("owner", "owned"),
    [
        ("prune/forward.py", {"register_forward_hook", "register_forward_pre_hook"}),
        ("prune/files.py", {"write_text", "save_file", "safe_open", "load_file"}),
    ],
)
def test_every_mechanism_has_one_owner(owner: str, owned: set[str]) -> None:
    """Hooks are registered by the one prober; files are written and opened in one place.

    `write_text` is also the name of the owner's function, which others call without a dot.
    """
    others = [source for source in SOURCES if source.as_posix() != owner]
    found = {
        source.as_posix(): owned & (set(calls(source)) - {"write_text"})
        | ({"write_text"} & owned if ".write_text(" in text_of(source) else set())
        for source in others
    }
    assert not {source: names for source, names in found.items() if names}


def texts(source: Path) -> list[str]:
    """String constants of a module that are no docstrings."""
    tree = ast.parse(text_of(source))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [x.value for x in constants if isinstance(x.value, str) and id(x) not in docstrings]


COMMAND = Path("prune", "command")
FLAGS = {f"--{dashed(name)}" for tree in (Job, *COMMANDS.values()) for name in leaves(tree)}


@pytest.mark.parametrize("source", [x for x in SOURCES if COMMAND not in x.parents], ids=str)
def test_only_the_command_line_speaks_of_flags(source: Path) -> None:
    found = {flag for text in texts(source) for flag in re.findall(r"(?<![\w(-])--[a-z-]+", text)}
    assert not found & FLAGS


SHARED = ("job", "structure", "selection", "repair", "training", "outputs", "output_score", "tasks")
READERS = ("batches", "few_labels", "held_out_items", "items", "live", "loaders", "samplers")
OF_BOTH = [
    source
    for source in SOURCES
    if source.with_suffix("").parts[1] in SHARED
    or source.with_suffix("").parts[1:] in [("inputs", name) for name in READERS]
]
"""Whose messages reach the callers of functions and those who type commands."""


@pytest.mark.parametrize("source", OF_BOTH, ids=str)
def test_messages_that_both_read_name_no_option_that_only_commands_have(source: Path) -> None:
    functions = [getattr(api, name) for name in ("compress", "rank", "shrink", "load")]
    known = set(JobOptions.__annotations__).union(*(signature(f).parameters for f in functions))
    named = {name for text in texts(source) for name in re.findall(r"`(\w+)[`=]", text)}
    assert not {name for name in named - known if f"--{dashed(name)}" in FLAGS}


def test_what_only_commands_can_take_is_asked_for_in_words_and_translated() -> None:
    for words, flags in PHRASES.items():
        assert in_flags(f"give {words}") == f"give {flags}"
        assert "--" in flags
        assert not any(name in words for name in ("`", "--"))


def test_the_public_api_is_what_the_readme_documents() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert api.__all__ == [
        "Compressed",
        "GateError",
        "InputError",
        "PruneError",
        "Shrunk",
        "UsageError",
        "compress",
        "load",
        "rank",
        "remap_optimizer",
        "shrink",
    ]
    for name in api.__all__:
        assert ">>> " in (getattr(api, name).__doc__ or ""), f"{name} has no example"
        assert f"`{name}" in readme, f"README.md does not mention {name}"
