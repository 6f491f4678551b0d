"""One self-contained HTML page from a template: no network, no side files.

Charts are plain plotly figures (dicts) whose colours may be CSS variables, "var(--final)"; the
page's script resolves them, so that one figure reads well in light and in dark.
"""

from pathlib import Path
from typing import Any

Figure = dict[str, Any]
"""{"data": [traces], "layout": {...}, "height": pixels}, as plotly.js takes it; "narrow": parts
of the layout that are others on a telephone."""


def render(template: str, **context: object) -> str:
    """Fill a template of `templates`; plotly's script is in the page exactly once."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment.get_template(template).render(plotly_js=get_plotlyjs(), **context)
