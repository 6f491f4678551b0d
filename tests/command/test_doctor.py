"""`prune-dl doctor`: what this machine has, and a verdict with what to mend."""

import platform

import pytest
import torch
from prune_dl.export.session import use_once
from prune_dl.prune.command import doctor
from prune_dl.prune.errors import UsageError
from scenes.terminal import Captured, document, facts_of, shown


def test_doctor_says_what_this_machine_has(capsys: Captured) -> None:
    facts, text = document(capsys, "doctor"), shown(capsys, "doctor")
    assert (facts["python"], facts["torch"].split("+")[0]) == (
        platform.python_version(),
        torch.__version__.split("+")[0],
    )
    assert "CPUExecutionProvider" in facts["onnxruntime providers"]
    assert (facts["cuda"] == "no CUDA device for torch") is not torch.cuda.is_available()
    assert text.startswith("this machine")
    found = facts_of(text)
    assert facts["provider cpu"] == "works"
    for name in ("python", "torch", "onnx", "cores", "provider cpu"):
        assert found[name] == facts[name]


def test_a_quiet_doctor_says_the_verdict_alone(capsys: Captured) -> None:
    text = shown(capsys, "doctor", "-q")
    assert text.startswith("verdict: ")
    assert shown(capsys, "doctor").endswith(f"\n{text}")


def test_doctor_names_what_is_not_installed_and_what_it_is_for(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    facts = document(capsys, "doctor")
    assert facts["timm"].startswith("not installed")
    assert "timm:" in facts["timm"]
    assert "sweep" in facts["ray"]


FACTS = {"onnxruntime-gpu": "1.31.1", "provider cpu": "works", "cuda": "no CUDA device for torch"}
MACHINE = {"has_cuda": False, "has_driver": False, "built_for_cuda": True}
FAILS = "does not work: would use CPUExecutionProvider"


@pytest.mark.parametrize(
    ("facts", "machine", "said"),
    [
        ({"onnxruntime": "1.31.1"}, {}, "pip uninstall -y onnxruntime onnxruntime-gpu"),
        ({"provider cuda": FAILS}, {"has_cuda": True}, "onnxruntime-gpu[cuda,cudnn]"),
        ({"provider tensorrt": FAILS}, {"has_cuda": True}, "do without --provider tensorrt"),
        ({"provider cpu": FAILS}, {}, "install ONNX Runtime again"),
        ({}, {"has_driver": True}, "update NVIDIA's driver"),
        ({}, {"has_driver": True, "built_for_cuda": False}, "torch is built without CUDA"),
    ],
)
def test_what_is_wrong_is_said_with_how_to_mend_it(
    facts: dict[str, str], machine: dict[str, bool], said: str
) -> None:
    (line,) = doctor.machine_problems(FACTS | facts, **(MACHINE | machine))
    assert said in line
    told = doctor.verdict({**FACTS, **facts, "problems": [line]})
    assert told == ["verdict: 1 thing to mend", f"  - {line}"]


def test_a_provider_for_cuda_is_no_problem_where_there_is_none() -> None:
    facts = FACTS | {"provider cuda": FAILS, "provider tensorrt": FAILS}
    assert not list(doctor.machine_problems(facts, **MACHINE))
    (line,) = doctor.verdict(facts | {"problems": []})
    assert line == "verdict: ready, on the CPU; latency can be measured on cpu"


def test_a_provider_that_leaves_its_node_to_another_does_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_once("cpu")

    def fails(name: str) -> None:
        raise UsageError("`provider=cuda` given; it is not used; check the driver")

    monkeypatch.setattr(doctor, "use_once", fails)
    assert doctor.try_provider("cuda", has_cuda=True) == "does not work: it is not used"


def test_packages_of_other_versions_and_missing_ones_are_problems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ["rich>=999", "no-such-package>=1", "timm>=999; extra == 'timm'", "numpy>=1"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: wanted)
    old, missing = doctor._version_problems()
    assert old.endswith(">=999 is needed: pip install 'rich>=999'")
    assert missing == "no-such-package is missing: pip install 'no-such-package>=1'"
