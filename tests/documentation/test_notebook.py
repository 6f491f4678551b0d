"""The notebook runs from top to bottom, and was saved without outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from documentation.guides import ROOT

NOTEBOOK = ROOT / "examples" / "first_network.ipynb"
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, "done.ipynb")
"""


def test_it_is_saved_without_outputs() -> None:
    """What a run gives belongs to a machine and a day."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)


@pytest.mark.slow
def test_every_cell_runs(tmp_path: Path) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    command = [sys.executable, "-c", RUN, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    printed = "".join(str(part) for output in outputs for part in output.values())
    assert "Smaller network" in printed
    assert printed.count("of the test images") == 3
    assert (tmp_path / "smaller.onnx").stat().st_size > 1000
