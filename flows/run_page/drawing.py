"""How the pictures of a run's page are drawn: matplotlib draws SVG that stands in the page, CSS colours it.

Text stays text, so that it can be found and read aloud; every colour is a CSS variable, so that one picture serves
light, dark and paper. Each picture has at most a few hundred points, however long the run was.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flows.run_page.facts import Numbers

WIDE, HALF = 9.4, 4.7  # inches; 96 CSS pixels each
FONT_PT = 9.0
_BINS = 150
VARIABLES = ("ink", "muted", "grid", "blue", "orange", "green", "red", "purple", "teal", "grey", "sand", "sky")
COLOURS = {name: f"#0{index:01x}0e0{index:01x}" for index, name in enumerate(VARIABLES)}
"""CSS variables by what matplotlib is told instead; it writes these codes and no others."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: `title` says the finding, `words` what is drawn; `legend` is (CSS variable, label)."""

    title: str
    svg: str
    words: str
    legend: tuple[tuple[str, str], ...] = ()
    wide: bool = False


def figure_of(width: float, height: float, *, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` pictures above each other, in inches, over one horizontal axis."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        for one in axes:
            one.yaxis.set_major_locator(MaxNLocator(4))
            one.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    return figure, list(axes)


def svg_of(figure: Figure, name: str) -> str:
    """The figure as an element of the page: ids of its own, the page's font, and colours by CSS variable."""
    sink = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
    text = re.sub(r'(id="|"#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for variable, code in COLOURS.items():
        text = text.replace(code, f"var(--{variable})")
    return text.strip()


def binned(series: Mapping[str, Numbers], counter: str) -> tuple[Numbers, Numbers]:
    """Edges of at most 150 spans of time that end at samples, and by how much the counter grew in each."""
    seconds, values = series["seconds"], series[counter]
    wanted = np.linspace(float(seconds[0]), float(seconds[-1]), min(_BINS, seconds.size - 1) + 1)
    chosen = np.unique(np.searchsorted(seconds, wanted).clip(0, seconds.size - 1))
    if chosen.size < 2:
        chosen = np.array([0, seconds.size - 1])
    edges, grown = seconds[chosen], np.diff(values[chosen])
    lasting = np.diff(edges) > 0
    return np.concatenate([edges[:1], edges[1:][lasting]]), grown[lasting]


def stepped(values: Numbers) -> Numbers:
    """A value an edge, as `step="post"` wants them."""
    return np.append(values, values[-1:])


def rate_area(axes: Axes, series: Mapping[str, Numbers], counter: str, colour: str) -> None:
    """By how much a counter grew a second, as an area."""
    edges, counts = binned(series, counter)
    rates = stepped(counts / np.diff(edges))
    axes.fill_between(edges, rates, step="post", color=COLOURS[colour], alpha=0.30, lw=0)
    axes.step(edges, rates, where="post", color=COLOURS[colour], lw=1.3)


def time_axis(axes: Axes, series: Mapping[str, Numbers]) -> None:
    """Seconds, minutes, hours or days since the beginning, whichever gives small numbers."""
    last = max(float(series["seconds"][-1]), 1e-3)
    units = ((86_400.0, "days"), (3_600.0, "hours"), (60.0, "minutes"))
    unit_s, unit = next(((s, name) for s, name in units if last >= 2 * s), (1.0, "seconds"))
    axes.set_xlim(0, last)
    axes.xaxis.set_major_locator(_RoundSteps(unit_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit_s:g}"))
    axes.set_xlabel(f"{unit} since the beginning")


class _RoundSteps(MaxNLocator):
    """About eight ticks at round multiples of a unit."""

    def __init__(self, unit_s: float) -> None:
        super().__init__(8, steps=[1, 2, 2.5, 5, 10])
        self._unit_s = unit_s

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        ticks = super().tick_values(vmin / self._unit_s, vmax / self._unit_s)
        return [float(tick) * self._unit_s for tick in ticks]


_STYLE: dict[Any, Any] = {  # matplotlib types the keys as some hundred literals
    "svg.fonttype": "none",
    "svg.hashsalt": "millrace",
    "font.family": "DejaVu Sans",
    "font.size": FONT_PT,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "ytick.major.size": 0.0,
    "xtick.major.size": 3.0,
}
