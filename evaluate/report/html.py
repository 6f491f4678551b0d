"""One self-contained HTML page from a template: no network, no side files.

Charts are plain plotly figures (dicts) whose colours may be CSS variables, "var(--final)"; the
page's script resolves them, so that one figure reads well in light and in dark.
"""

import base64
import gzip
from functools import cache
from pathlib import Path
from typing import Any

Figure = dict[str, Any]
"""{"data": [traces], "layout": {...}, "height": pixels}, as plotly.js takes it; "narrow": parts
of the layout that are others on a telephone."""


def render(template: str, **context: object) -> str:
    """Fill a template of `templates`; plotly's script is in the page exactly once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.get_template(template).render(plotly_js=packed_plotly(), **context)


@cache
def packed_plotly() -> str:
    """plotly's script of the installed package, gzip in base64: 2 MB where it takes 4.8 as it is.

    The page's own script unpacks it, after the first paint. The same package gives the same bytes.
    """
    from plotly.offline import get_plotlyjs

    packed = gzip.compress(get_plotlyjs().encode(), mtime=0)
    return base64.b64encode(packed).decode("ascii")
