"""Open mutated files in children with little memory and time, and say what came of each.

    python -m harness.attack FOLDER CASES SEED [KIND ...]

prints one JSON document: {"tried": {kind: cases}, "refused": {kind: cases}, "seconds": ..,
"findings": [[kind, number, what], ..]}. A child is forked for every few hundred mutants, and again
after one that hangs or dies. Runs on systems that can fork (not Windows).
"""

import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from prune_dl.prune.errors import PruneError

from .mutants import CANARY, damage, source
from .seeds import Kind, Kinds, make_kinds

SECONDS = float(os.environ.get("PRUNE_DL_FUZZ_SECONDS", "30"))
"""A mutant that takes longer hangs."""
MEMORY_BYTES = 2 * 10**9
"""Above what the imports take: what one mutant may ask for."""
CASES_PER_CHILD = 200
FORBIDDEN = {
    *("canary", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile"),
    *("subprocess.Popen", "pty.spawn", "pickle.find_class"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request"),
}
"""Audit events of Python that no file may lead to."""
CANARY_CODE = """import sys
sys.audit("canary", "imported")
def build(*arguments, **options):
    sys.audit("canary", "called")
"""
"""Of a module in the working folder, which files name."""
Case = tuple[str, int]


class Blocked(BaseException):
    """What a file asked for: code, a process, a connection. No Exception: nothing catches it."""


def mutant(kind: Kind, name: str, number: int, seed: int) -> bytes:
    """The contents of one mutated file; even numbers replace a value inside where that goes."""
    draw = source(name, number, seed)
    if kind.operate is None or number % 2:
        return damage(kind.seed, draw)
    return kind.operate(kind.seed, draw)


def try_one(kind: Kind, contents: bytes, seen: list[str]) -> str:
    """ "ok", "refused", or what went wrong."""
    seen.clear()
    with tempfile.TemporaryDirectory(dir=os.environ["TMPDIR"]) as place:
        path = Path(place) / kind.name
        path.write_bytes(contents)
        try:
            kind.read(path)
            answer = "ok"
        except PruneError as error:
            text = str(error)
            answer = "refused" if text and "\n" not in text else f"not one line: {text!r}"
        except Blocked:
            answer = "blocked"
        except (Exception, SystemExit) as error:
            at = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in at if "harness" not in frame.filename] or list(at)
            product = [f for f in at if any(x in f.filename for x in PRODUCT)] or own
            frame = product[-1]
            where = f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.name}"
            answer = f"{type(error).__name__} from {where}: {str(error)[:120]}"
    return f"code: {seen[0]}" if seen else answer


PRODUCT = tuple(f"{os.sep}{name}{os.sep}" for name in ("prune", "export", "evaluate"))


def child(cases: Sequence[Case], kinds: Kinds, seed: int, out: int) -> None:
    """Work on the cases, one line before and one after each."""
    seen: list[str] = []
    limit = _address_space() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            seen.append(f"{event} {arguments!r}"[:200])
            raise Blocked(event)

    sys.addaudithook(watch)
    for name, number in cases:
        os.write(out, f"{json.dumps([name, number])}\n".encode())
        contents = mutant(kinds[name], name, number, seed)
        answer = try_one(kinds[name], contents, seen)
        os.write(out, f"{json.dumps(answer)}\n".encode())


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def run_child(cases: Sequence[Case], kinds: Kinds, seed: int) -> list[str]:
    """What came of the first cases; of all of them unless one hangs or kills its child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        try:
            child(cases, kinds, seed, writer)
        finally:
            os._exit(0)
    os.close(writer)
    answers: list[str] = []
    begun, hangs, rest = 0, False, b""
    while True:
        ready, _, _ = select.select([reader], [], [], SECONDS)
        if not ready:
            hangs = True
            os.kill(pid, signal.SIGKILL)
            break
        part = os.read(reader, 65536)
        if not part:
            break
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            value = json.loads(line)
            if isinstance(value, list):
                begun += 1
            else:
                answers.append(value)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if begun > len(answers):
        died = (
            f"died: {signal.strsignal(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else status}"
        )
        answers.append(f"hangs for {SECONDS:g} s" if hangs else died)
    return answers


def attack(kinds: Kinds, cases: Sequence[Case], seed: int, home: Path) -> dict[str, Any]:
    """Try all cases; mutants that show something are kept in home/found."""
    tried, refused = Counter[str](), Counter[str]()
    findings: list[tuple[str, int, str]] = []
    start, done = time.perf_counter(), 0
    while done < len(cases):
        part = cases[done : done + CASES_PER_CHILD]
        answers = run_child(part, kinds, seed)
        for (name, number), answer in zip(part, answers, strict=False):
            tried[name] += 1
            refused[name] += answer == "refused"
            if answer not in ("ok", "refused"):
                findings.append((name, number, answer))
                folder = home / "found" / f"{name}-{number}"
                folder.mkdir(parents=True, exist_ok=True)
                contents = mutant(kinds[name], name, number, seed)
                (folder / kinds[name].name).write_bytes(contents)
        done += len(answers)
        if not answers:
            raise RuntimeError("a child ended before its first mutant")
    seconds = time.perf_counter() - start
    return {"tried": tried, "refused": refused, "seconds": seconds, "findings": findings}


def main(folder: str, cases: str, seed: str, *only: str) -> None:
    torch.set_num_threads(1)
    home = Path(folder).absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(home)
    (home / f"{CANARY}.py").write_text(CANARY_CODE)
    os.chdir(home)
    sys.path.insert(0, str(home))
    kinds = make_kinds(home)
    kinds = {name: kind for name, kind in kinds.items() if not only or name in only}
    for kind in kinds.values():  # lazy imports happen here, and a whole file must be fine
        answer = try_one(kind, kind.seed, [])
        if answer != "ok":
            raise RuntimeError(f"the whole {kind.name}: {answer}")
    shutil.rmtree(home / "found", ignore_errors=True)
    names = list(kinds)
    todo = [(names[i % len(names)], i // len(names)) for i in range(int(cases))]
    json.dump(attack(kinds, todo, int(seed), home), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
