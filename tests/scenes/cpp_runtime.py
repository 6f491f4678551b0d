"""ONNX Runtime for programs in C++: the headers of this machine, the library of the Python package.

No Python package of ONNX Runtime holds `onnxruntime_cxx_api.h`: CPLUS_INCLUDE_PATH says where it
is.
"""

import os
import shutil
import subprocess
from pathlib import Path

import onnxruntime

COMPILER = shutil.which("g++")
WITHOUT = "no g++, or no onnxruntime_cxx_api.h: name its folder in CPLUS_INCLUDE_PATH"
_DEBIAN = "/usr/include/onnxruntime"


def can_compile() -> bool:
    """Whether there is a compiler that finds the headers."""
    if COMPILER is None:
        return False
    command = [COMPILER, "-E", "-x", "c++", "-"]
    header = b"#include <onnxruntime_cxx_api.h>\n"
    done = subprocess.run(command, input=header, capture_output=True, check=False, env=paths())
    return done.returncode == 0


def link_library(folder: Path) -> None:
    """Put the library of the Python package into a folder, as linkers and loaders look for it."""
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(library)


def paths() -> dict[str, str]:
    """The environment of a compiler, and of what it made, in a folder with the library."""
    headers = os.pathsep.join(filter(None, (os.environ.get("CPLUS_INCLUDE_PATH"), _DEBIAN)))
    here = {"CPLUS_INCLUDE_PATH": headers, "LIBRARY_PATH": ".", "LD_LIBRARY_PATH": "."}
    return {**os.environ, **here}
