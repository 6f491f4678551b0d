"""The command line: exit codes, one-line messages, one tree for flags, TOML and run.json."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from prune_dl.prune.command import cli
from prune_dl.prune.command import options_file as config_file
from prune_dl.prune.command.trees import FirstTraining, Job, LabelledData
from prune_dl.prune.errors import UsageError


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and the one line on stderr of a command that must fail."""
    code = cli.run(list(argv))
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return code, lines[0]


def test_help_shows_examples_first_and_imports_no_torch() -> None:
    script = (
        "import sys; from prune_dl.prune.command import cli\n"
        "try: cli.main(['--help'])\n"
        "finally: assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("prune-dl demo") < done.stdout.index("--keep")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("prune",), "--model is missing"),
        (("--model", "x.pt", "--keep", "abc"), "--keep abc given; expected a number;"),
        (("--model", "x.pt", "--keep=0,5"), "--keep 0,5 given; expected a number;"),
        (("--model", "x.pt", "--keep"), "--keep given without a value; expected a number;"),
        (
            ("--model", "x.pt", "--kep", "0.5"),
            "--kep 0.5 given, which is unknown; did you mean",
        ),
        (("--model", "x.pt", "--steps", "2.5"), "--steps 2.5 given; expected a whole number;"),
        (("--model", "x.pt", "--mean", "a", "b"), "--mean a b given; expected numbers"),
        (
            ("--model", "x.pt", "--allocate", "best"),
            "--allocate best given; expected one of",
        ),
        (
            ("--model", "x.pt", "--hardware-widths", "gpu"),
            "--hardware-widths gpu given; expected one of cpu, cuda",
        ),
        (
            ("sweep", "--model", "x", "--distributed", "dask"),
            "--distributed dask given; exp",
        ),
        (("frobnicate",), "'frobnicate' is no command; give one of prune, train,"),
        (("trian",), "did you mean train?"),
        (("help", "swep"), "did you mean sweep?"),
        (("pyproject.toml",), "did you mean --model pyproject.toml?"),
        (("completion", "fish"), "fish given; expected one of bash, zsh, tcsh;"),
        (
            ("evaluate", "--model", "x", "--resume"),
            "--resume given, which this command does not have (prune, train, rank, sweep)",
        ),
        (("train", "--arch", "vgg6", "--distill"), "does not have (prune, sweep)"),
        (("train",), "--arch"),
        (("--config", "missing.toml"), "missing.toml"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str
) -> None:
    code, line = fails(capsys, *argv)
    assert code == 2
    assert said in line


@pytest.mark.parametrize("keep", ["0", "1.2", "-1", "nan"])
def test_a_budget_out_of_range_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, keep: str
) -> None:
    out = tmp_path / "run"
    code, line = fails(
        capsys, "--model", "missing.pt", "--keep", keep, "--data", "digits", "--out", str(out)
    )
    assert code == 2
    assert "--keep" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--epochs", "-1", "--lr", "0"),
            "--epochs -1 given; expected 0 to 100000; --lr 0.0 given",
        ),
        (("--batch-size", "1"), "--batch-size 1 given; expected 2 to 65536"),
        (("--max-drop", "nan"), "--max-drop nan given; expected 0 or more"),
        (("--patience", "0"), "--patience 0 given; expected 1 to 100000"),
        (("--averaging", "1"), "--averaging 1.0 given; expected a share from 0 to below 1"),
        (("--mixup", "-0.1"), "--mixup -0.1 given; expected 0 or more"),
        (("--temperature", "0"), "--temperature 0.0 given; expected a number above 0"),
        (("--threads", "0"), "--threads 0 given; expected 1 to 1024"),
        (("--seed", "-1"), "--seed -1 given; expected 0 or more"),
        (("--images", "0"), "--images 0 given; expected 1 to 1000000000"),
        (("--held-out", "0"), "--held-out 0 given"),
        (("--held-out", "1"), "--held-out 1.0 given; expected a share"),
    ],
)
def test_numbers_out_of_range_are_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    code, line = fails(capsys, "--model", "missing.pt", "--keep", "0.5", *flags)
    assert code == 2
    assert said in line


def test_two_budgets_or_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = fails(capsys, "--model", "missing.pt")
    assert (code, "no budget given" in line) == (2, True)
    code, line = fails(capsys, "--model", "missing.pt", "--keep", "0.5", "--macs", "0.5")
    assert (code, "--keep and --macs given" in line) == (2, True)


def test_an_unknown_criterion_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, line = fails(capsys, "--model", "missing.pt", "--keep", "0.5", "--rank", "l3")
    assert code == 2
    assert "--rank l3" in line
    assert "mechanism" in line


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    toml = tmp_path / "job.toml"
    toml.write_text('[network]\nmodel = "a.pt"\n[select]\nkeep = 0.3\n[run]\nout = "x"\n')
    options = cli.parse(["--config", str(toml), "--keep", "0.7"])
    assert options.network.model == "a.pt"
    assert options.select.keep == 0.7
    assert options.run.out == Path("x")


def test_a_train_file_keeps_the_defaults_of_what_it_leaves_out(tmp_path: Path) -> None:
    toml = tmp_path / "train.toml"
    toml.write_text('arch = "vgg6"\n[train]\nlr = 0.05\n')
    parsed = cli.parse(["train", "--config", str(toml)])
    assert parsed.train == FirstTraining(epochs=60, lr=0.05, distill=False)
    assert parsed.data == LabelledData()


def test_every_unknown_name_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    toml = tmp_path / "job.toml"
    toml.write_text('[network]\nmodle = "a.pt"\n[select]\nkep = 1\n')
    with pytest.raises(UsageError, match=r"network\.modle, select\.kep"):
        cli.parse(["--config", str(toml)])


@pytest.mark.parametrize(
    ("toml", "name"),
    [
        ('[select]\nkeep = "0.5"', "select.keep"),
        ("[select]\nkeep = true", "select.keep"),
        ("[select]\nkeep = [0.5]", "select.keep"),
        ('[select]\nallocate = "best"', "select.allocate"),
        ("[retrain]\nepochs = 2.5", "retrain.epochs"),
        ("[data]\nmean = 0.5", "data.mean"),
        ('[data]\nmean = ["a", "b"]', "data.mean"),
        ("[run]\nout = 3", "run.out"),
        ("[network]\nmodel = 3", "network.model"),
        ('dry_run = "yes"', "dry_run"),
        ("select = 0.5", "select"),
    ],
)
def test_a_value_of_the_wrong_type_in_a_file_is_one_line_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str, name: str
) -> None:
    path = tmp_path / "job.toml"
    path.write_text(toml)
    code, line = fails(capsys, "--config", str(path), "--model", "missing.pt")
    assert code == 2
    assert name in line


def test_numbers_of_a_file_may_be_whole_where_any_number_will_do(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text("[select]\nkeep = 1\n[data]\nmean = [0, 0.5, 1]\n")
    options = cli.parse(["--config", str(path), "--model", "a.pt"])
    assert (options.select.keep, options.data.mean) == (1.0, (0.0, 0.5, 1.0))


def test_run_json_gives_the_same_options_again(tmp_path: Path) -> None:
    options = cli.parse(["--model", "a.pt", "--keep", "0.5", "--mean", "0.1", "0.2", "0.3"])
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"command": "", "options": config_file.to_tables(options)}))
    again = config_file.from_tables(Job, config_file.read_config(path))
    assert again == options


def test_bench_shows_what_a_file_needs_and_takes_sizes_that_it_leaves_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    opset = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.save(model, tmp_path / "open.onnx")
    argv = ["bench", str(tmp_path / "open.onnx"), "--bench-seconds", "0.05"]
    assert cli.run(argv) == 2
    assert "give --input-size, such as 3 224 224" in capsys.readouterr().err
    argv += ["--input-size", "3", "8", "8", "--latency-batch", "2"]
    assert cli.run([*argv, "-q"]) == 0
    assert capsys.readouterr().err == ""
    assert cli.run(argv) == 0
    shown, said = capsys.readouterr()
    assert said.startswith("benchmark: ")
    for words in (
        "CPUExecutionProvider, batch 2",
        "std ms",
        "ms to open",
        "peak MB",
        "measured on",
    ):
        assert words in shown
