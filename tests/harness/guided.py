"""Mutants that are guided by the code that they reach, where atheris is installed.

    python -m harness.guided FOLDER KIND SECONDS

ends with exit code 0 if every mutant of that kind of file was opened, or was refused in one line;
else atheris prints the traceback and keeps the mutant in the working folder.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["prune_dl"]):
    from .seeds import make_kinds

from prune_dl.prune.errors import PruneError


def main(home: str, kind: str, seconds: str) -> None:
    folder = Path(home).absolute()
    chosen = make_kinds(folder)[kind]
    corpus = folder / "corpus" / kind
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "seed").write_bytes(chosen.seed)
    file = folder / "now" / chosen.name
    file.parent.mkdir(exist_ok=True)

    def read_one(contents: bytes) -> None:
        file.write_bytes(contents)
        try:
            chosen.read(file)
        except PruneError as error:
            if "\n" in str(error):
                raise RuntimeError("more than one line") from error

    atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={seconds}", "-seed=1"], read_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
