"""No command opens a connection that its user did not name."""

import socket
from pathlib import Path
from typing import Any

import pytest
from prune_dl.prune.command import cli

from harness.runs import ARCH


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was tried; every try fails, as on a machine without a network."""
    tried: list[str] = []

    def refuse(name: str) -> Any:
        def refused(*arguments: Any, **named: Any) -> Any:
            tried.append(f"{name} {arguments[1:]!r}")
            raise OSError(f"{name} with the network closed")

        return refused

    for name in ("connect", "connect_ex", "sendto", "bind"):
        monkeypatch.setattr(socket.socket, name, refuse(name))
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    return tried


def test_a_connection_would_be_seen(connections: list[str]) -> None:
    with pytest.raises(OSError, match="network closed"):
        socket.create_connection(("localhost", 9))
    with socket.socket() as opened, pytest.raises(OSError, match="network closed"):
        opened.connect(("localhost", 9))
    assert len(connections) == 2


@pytest.mark.slow
def test_train_job_hub_folder_rank_export_and_sweep_stay_offline(
    connections: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, run, brief = str(tmp_path / "net.pt"), str(tmp_path / "run"), ("--bench-seconds", "0.05")
    job = ["--model", model, "--keep", "0.6", "--epochs", "1"]
    commands = [
        ["train", "--arch", ARCH, "--epochs", "2", "--out", model],
        [*job, "--out", run, *brief, "--hub-folder", str(tmp_path / "hub")],
        ["rank", "--model", model, "--out", str(tmp_path / "rank"), "--keep", "0.5"],
        ["export", "--model", run, "--out", str(tmp_path / "a.onnx"), "--int8"],
        ["export", "--model", run, "--hub-folder", str(tmp_path / "hub2")],
        ["evaluate", "--model", run],
        ["bench", str(tmp_path / "a.onnx"), *brief],
        ["sweep", "--model", model, "--keep", "0.5", "--out", str(tmp_path / "sweep"), *brief],
        ["doctor"],
    ]
    codes = [cli.run(argv) for argv in commands]
    assert codes == [0] * len(commands), capsys.readouterr().err[-2000:]
    assert connections == []
