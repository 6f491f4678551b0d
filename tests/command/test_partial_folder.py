"""The folder of an unfinished run: when it is kept, refused, gone on from, delivered."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.folder import CHECKPOINT, bind_to, output_folder


def test_a_new_run_removes_the_state_of_a_short_one_alone(tmp_path: Path) -> None:
    def fail_with_state() -> None:
        with output_folder(tmp_path / "out") as folder:
            bind_to(folder, {"`seed`": 0})
            (folder / "retraining.pt").touch()
            raise ValueError("x")

    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            fail_with_state()
    partial = tmp_path / ".out.partial"
    an_hour_ago = (partial / "retraining.pt").stat().st_mtime - 3600
    os.utime(partial / "belongs_to.json", (an_hour_ago, an_hour_ago))
    with (
        pytest.raises(ValueError, match="holds an unfinished run; give `resume`"),
        output_folder(tmp_path / "out"),
    ):
        pytest.fail("an hour of work is lost")
    assert (partial / "retraining.pt").exists()


def test_state_that_does_not_say_what_it_belongs_to_is_refused_and_kept(tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    (partial / "retraining.pt").touch()
    for written, said in ((None, "does not say"), ("[]", "is damaged"), ("{", "is damaged")):
        if written is not None:
            (partial / "belongs_to.json").write_text(written)
        with (
            pytest.raises(ValueError, match=said),
            output_folder(tmp_path / "out", resume=True) as folder,
        ):
            bind_to(folder, {"`seed`": 0})
        assert (partial / "retraining.pt").exists()


def test_what_is_half_written_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    (tmp_path / ".out.partial" / "kept" / ".measured-x.17.partial").mkdir(parents=True)
    with (
        pytest.raises(UsageError, match="nothing to go on from"),
        output_folder(tmp_path / "out", resume=True),
    ):
        pytest.fail("there is nothing")


def test_half_written_files_of_a_killed_run_are_not_delivered(tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    for name in ("retraining.pt", ".retraining.pt.17.partial"):
        (partial / name).touch()
    with output_folder(tmp_path / "out", resume=True) as folder:
        (folder / "plan.json").touch()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["plan.json", "run.json"]


@pytest.mark.parametrize("has_state", [True, False])
def test_a_finished_folder_that_cannot_get_its_name_is_one_line(
    has_state: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill() -> None:
        with output_folder(tmp_path / "out") as folder:
            if has_state:
                (folder / CHECKPOINT).write_bytes(b"an hour of work")
            monkeypatch.setattr("prune_dl.prune.folder.os.replace", full)

    with pytest.raises(InputError, match="No space left") as refused:
        fill()
    assert (tmp_path / ".out.partial").exists() == has_state
    assert hasattr(refused.value, "__notes__") == has_state
    assert not (tmp_path / "out").exists()
