"""The output folder of a run: filled under another name, and given its own when it is whole.

.NAME.partial/                 the unfinished folder; it becomes NAME
    belongs_to.json            what the run was given; only a run that is given the same resumes it
    kept/                      results of finished stages that took long (`job/kept.py`)
    retraining.pt              the state of the retraining
    metrics.jsonl, ...         what is delivered

The first three are the state: while any of it is there, nothing removes the folder but its user,
or a new run if it holds the work of less than a minute.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from .errors import InputError, UsageError
from .files import discard, remove_half_written, unwritable, write_json
from .lock import only_writer

CHECKPOINT = "retraining.pt"
"""Where a retraining is kept, inside the unfinished folder."""
KEPT = "kept"
"""Folder of what finished stages gave."""
BELONGS_TO = "belongs_to.json"
"""What the state was made from."""
WORTH_KEEPING_SECONDS = 60.0
"""Work of less than this is quickly done again: it is neither kept nor protected."""
MAX_SHOWN = 40
"""Characters of a value that an error still shows well."""


@contextmanager
def output_folder(out: Path, *, resume: bool = False) -> Iterator[Path]:
    """An unfinished folder beside `out`; it becomes `out` when the block ends well.

    Only one run has it at a time. When the block fails or is interrupted, the unfinished folder
    stays if it holds state, and the error gets a note of how to go on; else it is removed, with the
    parents made for it.

    Raises:
        UsageError: `out` holds something, another run is writing it, there is nothing to resume,
            or a new run would remove the state of a long one.
        InputError: the folder cannot be made or written.
    """
    with only_writer(out):
        _check_free(out)
        partial = _start(out, resume)
        try:
            yield partial
            _put_in_place(partial, out)
        except BaseException as error:
            if not has_state(partial):
                shutil.rmtree(partial, ignore_errors=True)
            note_kept(error, partial)
            refuse_full_disk(out, error)
            raise
        drop_state(out)


def _put_in_place(partial: Path, out: Path) -> None:
    """Give the finished folder its name. Raises InputError where that fails."""
    try:
        remove_half_written_in(partial)
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    except OSError as error:
        raise unwritable(out, error) from error


def _check_free(out: Path) -> None:
    if (out / BELONGS_TO).is_file():  # a run that was killed after its folder was whole
        drop_state(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"`out={out}` holds something already; give another folder or remove it")


def _start(out: Path, resume: bool) -> Path:
    """The unfinished folder: the one that is gone on with, or a new one."""
    partial = _unfinished(out)
    check_resumption(partial, resume, has_state(partial), _work_seconds(partial))
    try:
        if partial.exists() and not resume:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "run.json").touch()
    except OSError as error:
        raise InputError(
            f"`out={out}` cannot be written ({error.strerror}); give another place"
        ) from None
    return partial


def _unfinished(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def has_unfinished(out: Path) -> bool:
    """Whether there is a run that was to become `out`, and can be gone on with."""
    return has_state(_unfinished(out))


def check_resumption(place: Path, resume: bool, has_state: bool, work_seconds: float) -> None:
    """Refuse to resume nothing, and to remove the state of a long run unasked.

    Args:
        place: file or folder of the state.
        has_state: whether there is any.
        work_seconds: that went into it.

    Raises:
        UsageError: as said.
    """
    if resume and not has_state:
        raise UsageError(
            f"`resume` given, and there is nothing to go on from in {place}; leave it out to start"
        )
    if has_state and not resume and work_seconds >= WORTH_KEEPING_SECONDS:
        raise UsageError(
            f"{place} holds an unfinished run; give `resume` to go on with it, or remove it to "
            "start anew"
        )


def has_state(folder: Path) -> bool:
    """Whether a folder holds what a run can go on from."""
    kept = folder / KEPT
    whole = kept.is_dir() and any(not path.name.startswith(".") for path in kept.iterdir())
    return whole or (folder / CHECKPOINT).is_file()


def drop_state(folder: Path) -> None:
    """Remove the state from a folder that is finished."""
    shutil.rmtree(folder / KEPT, ignore_errors=True)
    for name in (CHECKPOINT, BELONGS_TO):
        (folder / name).unlink(missing_ok=True)


def bind_to(folder: Path, facts: Mapping[str, Any]) -> None:
    """State in a folder belongs to these facts: written by the first run, compared by a later one.

    Args:
        facts: by their names in the words of errors, plain values.

    Raises:
        UsageError: the state belongs to a run that was given something else.
        InputError: the file is damaged, or cannot be written.
    """
    file, given = folder / BELONGS_TO, json.loads(json.dumps(facts, default=str))
    if not file.exists():
        if has_state(folder):
            raise InputError(f"{folder} does not say what it belongs to; remove it to start anew")
        write_json(file, given)
        return
    try:
        written = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{file} is damaged ({error}); remove {folder} to start anew") from error
    differing = describe_differences(written, given)
    if differing:
        raise UsageError(
            f"`resume` given, but {folder} belongs to a run with {differing}; "
            "give what that run was given, or remove the folder to start anew"
        )


def describe_differences(written: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What differs between two sets of facts, in words; nothing where they are equal.

    >>> describe_differences({"`rank`": "l1", "`seed`": 0}, {"`rank`": "snr", "`seed`": 0})
    'another `rank` (l1 then, snr now)'
    """
    names = [name for name in {**written, **given} if written.get(name) != given.get(name)]
    return ", ".join(
        f"another {name} ({_shown(written.get(name))} then, {_shown(given.get(name))} now)"
        for name in names
    )


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def note_kept(error: BaseException, place: Path) -> None:
    """Tell, where an error ends up, that the state is kept, and how to go on from it."""
    if place.is_file() or has_state(place):
        error.add_note(f"what was finished is kept in {place}; `resume` goes on with it")


def refuse_full_disk(out: Path, error: BaseException) -> None:
    """Raises InputError, with the error's notes, where the error says that the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        refusal = unwritable(out, error)
        for note in getattr(error, "__notes__", ()):
            refusal.add_note(note)
        raise refusal from error


def _work_seconds(partial: Path) -> float:
    """How long the run took for its state, from its start to the last file; 0 without any."""
    try:
        start = (partial / BELONGS_TO).stat().st_mtime
        state = [partial / CHECKPOINT, *(partial / KEPT).rglob("*")]
        return max((file.stat().st_mtime - start for file in state if file.exists()), default=0.0)
    except OSError:
        return 0.0


def remove_half_written_in(folder: Path) -> None:
    """Remove what a killed run was writing, anywhere in its folder, when it was killed."""
    for left in list(folder.rglob(".*.partial")):
        discard(left)


@contextmanager
def state_beside(out: Path, *, resume: bool = False) -> Iterator[Path]:
    """OUT.resume, the file of a training that is to become the file `out`; removed at the end.

    When the block fails or is interrupted it stays, and the error gets a note of how to go on.

    Raises:
        UsageError: there is nothing to resume, or a new training would replace an unfinished one.
    """
    state = out.with_name(f"{out.name}.resume")
    there = state.is_file()
    check_resumption(state, resume, there, WORTH_KEEPING_SECONDS if there else 0.0)
    remove_half_written(state)
    try:
        yield state
    except BaseException as error:
        note_kept(error, state)
        raise
    state.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Fail before the work, not after it, when a file cannot be written.

    Raises:
        UsageError: the file exists already.
        InputError: its folder cannot be made or written.
    """
    if path.exists():
        raise UsageError(f"`out={path}` exists already; give another file or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"`out={path}` cannot be written ({error.strerror}); give another place"
        raise InputError(message) from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"`out={path}` cannot be written (no permission); give another place")
