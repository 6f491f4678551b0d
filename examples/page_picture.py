"""A picture (PNG) of the top of a page, as the README has one of the demo's report.

    prune-dl demo
    python examples/page_picture.py runs/demo/pruned/report.html docs/images/report.png

Needs Chromium or Chrome on the PATH.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "google-chrome", "chrome")


def main(arguments: list[str] | None = None) -> int:
    """Write the picture; exit code 3 where there is no browser or no page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, help="an HTML file")
    parser.add_argument("picture", type=Path, help="where the PNG file goes")
    parser.add_argument("--width", type=int, default=1280, help="pixels")
    parser.add_argument("--height", type=int, default=1160, help="pixels")
    options = parser.parse_args(arguments)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return refuse(f"no {' or '.join(BROWSERS)} on the PATH; install one")
    if not options.page.is_file():
        return refuse(f"{options.page} is no file; expected a page, such as report.html of a run")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    picture = options.picture.resolve()
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={folder}", f"--window-size={options.width},{options.height}"),
            *("--virtual-time-budget=5000", f"--screenshot={picture}"),
            options.page.resolve().as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    print(f"{options.picture}, {picture.stat().st_size / 1000:.0f} kB")
    return 0


def refuse(reason: str) -> int:
    print(f"page_picture: {reason}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main())
