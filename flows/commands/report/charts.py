"""How the pictures of a run's page are drawn: matplotlib draws SVG that stands in the page, CSS colours it.

Text stays text, so that it can be found and read aloud; every colour is a CSS variable, so that one picture serves
light, dark and paper. Each picture has at most a few hundred points, however long the run was.

The pictures of a run that count: answers by how long they took, chunks by size, documents by format.

The pictures of a run that go along its time: pace, what held it up, money, chunks, answers.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from millrace.flows.commands.report.facts import Numbers, RunFacts
from millrace.flows.commands.report.formatting import (
    BOTTLENECK_WORDS,
    bottleneck_words,
    format_count,
    format_duration,
    short_s,
    yuan,
)
from millrace.flows.monitoring.format_stats import FormatCounts

WIDE, HALF = 9.4, 4.7  # inches; 96 CSS pixels each
FONT_PT = 9.0
_BINS = 150
VARIABLES = ("ink", "muted", "grid", "blue", "orange", "green", "red", "purple", "teal", "grey", "sand", "sky", "rose")
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
    format_duration = np.diff(edges) > 0
    return np.concatenate([edges[:1], edges[1:][format_duration]]), grown[format_duration]


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


_FORMATS_SHOWN = 12
_UNDER_BARS = 12  # labels that fit without being turned


def latency(facts: RunFacts) -> Chart | None:
    """How many answers took how long."""
    found = facts.facts.latency
    counts = np.asarray(found.counts, np.float64)
    if not found.answers or not facts.pays or len(found.bounds_s) + 1 != counts.size:
        return None
    first, last = np.flatnonzero(counts)[[0, -1]]
    chosen = slice(max(first - 1, 0), last + 2)
    names = [*(f"{bound:g}" for bound in found.bounds_s), f"> {found.bounds_s[-1]:g}"][chosen]
    figure, (axes,) = figure_of(HALF, 2.5)
    axes.bar(np.arange(len(names)), counts[chosen], width=0.86, color=COLOURS["purple"], lw=0)
    axes.set_xticks(np.arange(len(names)), names, rotation=90 if len(names) > _UNDER_BARS else 0)
    axes.set_xlabel("seconds, at most")
    axes.set_ylabel("answers")
    half, nearly_all = found.quantile_s(0.5), found.quantile_s(0.99)
    title = f"Half of the answers came within {short_s(half)}, 99 % within {short_s(nearly_all)}"
    words = f"{found.answers:,} answers by how long they took."
    return Chart(title, svg_of(figure, "latency"), words)


def chunk_sizes(facts: RunFacts) -> Chart | None:
    """How many chunks have how many tokens."""
    found, most = facts.chunk_sizes, facts.setting("chunking.max_tokens")
    if not found.tokens.size:
        return None
    bound = max(int(most) if isinstance(most, int) else 0, int(found.tokens.max()), 1)
    counts, edges = np.histogram(found.tokens, bins=min(32, bound), range=(0, bound))
    figure, (axes,) = figure_of(HALF, 2.5)
    axes.bar(edges[:-1], counts, width=np.diff(edges) * 0.9, align="edge", color=COLOURS["teal"], lw=0)
    axes.axvline(bound, color=COLOURS["muted"], lw=1.0, ls=(0, (4, 3)))
    axes.set_xlim(0, bound * 1.02)
    axes.set_xlabel("tokens of a chunk")
    axes.set_ylabel("chunks")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    middle = int(np.median(found.tokens))
    title = f"Half of the chunks have {middle:,} tokens or more, of {bound:,} allowed"
    words = f"{found.tokens.size:,} chunks by size; {found.tokens.mean():,.0f} tokens on average."
    if found.looked_at < found.parts:
        words += f" From {found.looked_at:,} of {found.parts:,} parts, evenly chosen."
    return Chart(title, svg_of(figure, "chunk-sizes"), words, (("muted", "chunking.max_tokens (dashed)"),))


def formats(facts: RunFacts) -> Chart | None:
    """Documents by format and what became of them."""
    found = sorted(facts.facts.formats.items(), key=lambda item: -_documents(item[1]))
    if not found:
        return None
    shown = found[:_FORMATS_SHOWN]
    figure, (axes,) = figure_of(HALF, max(1.4, 0.75 + 0.26 * len(shown)))
    base = np.zeros(len(shown))
    outcomes: list[tuple[str, str, Callable[[FormatCounts], int]]] = [
        ("green", "in, whole", lambda c: c.whole),
        ("sand", "in, but for some pages, rows or texts", lambda c: c.partly),
        ("red", "rejected", lambda c: c.rejected),
    ]
    places = np.arange(len(shown))[::-1]
    for colour, _, count in outcomes:
        counts = np.array([count(c) for _, c in shown], np.float64)
        axes.barh(places, counts, left=base, height=0.7, color=COLOURS[colour], lw=0)
        base += counts
    axes.set_yticks(places, [f"{name}  {_documents(c):,}" for name, c in shown])
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=COLOURS["grid"], lw=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("documents")
    words = "Documents that this run took in or rejected" + (
        f"; the {_FORMATS_SHOWN} most frequent of {len(found)} formats." if len(found) > len(shown) else "."
    )
    legend = tuple((colour, label) for colour, label, _ in outcomes)
    return Chart(_worst_format(dict(found)), svg_of(figure, "formats"), words, legend)


def _worst_format(found: dict[str, FormatCounts]) -> str:
    whole, seen = sum(c.whole for c in found.values()), sum(map(_documents, found.values()))
    if whole == seen:
        return f"All {seen:,} documents are in, whole" if seen > 1 else "The one document is in, whole"
    name, worst = max(found.items(), key=lambda item: _documents(item[1]) - item[1].whole)
    lost = _documents(worst) - worst.whole
    return f"{whole:,} of {seen:,} documents are in, whole; {name} lacks most: {lost:,} of {_documents(worst):,}"


def _documents(counts: FormatCounts) -> int:
    return counts.whole + counts.partly + counts.rejected


_LEAST_SHARE = 0.002  # of what a run waited for, below which it is not drawn
_WAIT_COLOURS = dict(
    zip(
        BOTTLENECK_WORDS,
        ("blue", "sky", "teal", "red", "purple", "sand", "orange", "green", "grey", "rose", "muted"),
        strict=True,
    )
)


def throughput(facts: RunFacts) -> Chart | None:
    """Requests and tokens a second against their ceilings, with what was answered 429; chunks where nothing is sent."""
    series = facts.series
    if not _has_course(facts):
        return None
    if not facts.pays:
        return _chunk_rates(facts)
    figure, (tokens, requests) = figure_of(WIDE, 3.9, rows=2)
    limits = facts.facts.limits
    legend = [("blue", "sent"), ("ink", "the pace allowed, as learned")]
    for axes, counter, ceiling, limit, unit in (
        (tokens, "tokens_counted", "tokens_ceiling", limits.tokens_per_second, "tokens/s"),
        (requests, "requests_sent", "requests_ceiling", limits.requests_per_second, "requests/s"),
    ):
        rate_area(axes, series, counter, "blue")
        if np.any(series[ceiling] > 0):
            axes.step(series["seconds"], _gaps(series[ceiling]), where="post", color=COLOURS["ink"], lw=1.2)
        if limit:
            axes.axhline(limit, color=COLOURS["muted"], lw=1.0, ls=(0, (4, 3)))
        axes.set_ylabel(unit)
        axes.set_ylim(0, 1.12 * _top(axes, limit))
    if limits.requests_per_second or limits.tokens_per_second:
        legend.append(("muted", "the account's limit (dashed)"))
    if facts.report.requests.throttled:
        edges, refused = binned(series, "requests_throttled")
        at = edges[1:][refused > 0]
        for axes in (tokens, requests):
            axes.plot(at, np.full(at.size, 0.0), "|", color=COLOURS["red"], ms=11, mew=1.6, clip_on=False)
        legend.append(("red", "answered 429"))
    time_axis(requests, series)
    words = (
        f"Tokens and requests sent a second. Over the whole run {facts.report.tokens.counted / _seconds(facts):,.0f} "
        f"tokens and {facts.report.requests.sent / _seconds(facts):,.1f} requests a second."
    )
    return Chart(_pace(facts), svg_of(figure, "throughput"), words, tuple(legend), wide=True)


def _pace(facts: RunFacts) -> str:
    """How much of the pace that was allowed was used, of whichever limit was nearer, while requests went out."""
    series = facts.series
    sending = np.flatnonzero(np.diff(series["requests_sent"]) > 0)
    if not sending.size:
        return "Throughput against the ceiling"
    span = slice(sending[0], sending[-1] + 2)
    took_s = np.diff(series["seconds"][span])
    uses = {}
    for what, counter in (("tokens", "tokens_counted"), ("requests", "requests_sent")):
        allowed = float(np.sum(series[f"{what}_ceiling"][span][1:] * took_s))
        sent = float(series[counter][span][-1] - series[counter][span][0])
        if allowed > 0:
            uses[what] = (sent / allowed, sent / max(float(took_s.sum()), 1e-9))
    if not uses:
        return "Throughput, without a known ceiling"
    what, (use, rate) = max(uses.items(), key=lambda item: item[1][0])
    return f"{rate:,.0f} {what}/s while requests went out: {min(use, 1.0):.0%} of the pace allowed"


def bottlenecks(facts: RunFacts) -> Chart | None:
    """What the run waited for, as shares of each moment."""
    series, held = facts.series, facts.held_s
    total = sum(held.values())
    shown = [name for name in BOTTLENECK_WORDS if held.get(name, 0.0) > _LEAST_SHARE * total]
    if not _has_course(facts) or len(shown) < 2:
        return None
    figure, (axes,) = figure_of(WIDE, 2.0)
    shares = {name: binned(series, f"held_{name}_s")[1] for name in shown}
    edges = binned(series, "seconds")[0]
    whole = np.maximum(sum(shares.values(), np.zeros(edges.size - 1)), 1e-9)
    base = np.zeros(edges.size - 1)
    for name in shown:
        top = base + shares[name] / whole
        axes.fill_between(edges, stepped(base), stepped(top), step="post", color=COLOURS[_WAIT_COLOURS[name]], lw=0.0)
        base = top
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of the time")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    time_axis(axes, series)
    most = next(iter(held))
    legend = tuple(
        (_WAIT_COLOURS[name], f"{bottleneck_words(facts, name)}: {_share(held[name] / total)}")
        for name in held
        if name in shown
    )
    title = f"{_sentence(bottleneck_words(facts, most))} held the run up for {held[most] / total:.0%} of its time"
    words = "What the run waited for at each moment, so that more of it would have made the run faster."
    return Chart(title, svg_of(figure, "bottlenecks"), words, legend, wide=True)


def spending(facts: RunFacts) -> Chart | None:
    """Tokens billed since the beginning, with their price on the other side."""
    series, price = facts.series, facts.facts.price_cny_per_1k_tokens
    billed = facts.report.tokens.billed
    if not _has_course(facts) or not billed:
        return None
    figure, (axes,) = figure_of(HALF, 2.5)
    axes.fill_between(series["seconds"], series["tokens_billed"], color=COLOURS["blue"], alpha=0.25, lw=0)
    axes.plot(series["seconds"], series["tokens_billed"], color=COLOURS["blue"], lw=1.8)
    axes.set_ylabel("tokens billed")
    axes.set_ylim(bottom=0)
    if price:
        other = axes.secondary_yaxis("right", functions=(_times(price / 1000), _times(1000 / price)))
        other.set_ylabel("yuan")
        other.yaxis.set_major_locator(MaxNLocator(5))
        other.spines["right"].set_visible(False)
        other.tick_params(length=0, labelsize=FONT_PT, colors=COLOURS["muted"])
        other.yaxis.label.set(color=COLOURS["muted"], size=FONT_PT)
    time_axis(axes, series)
    title = f"{format_count(billed)} tokens were billed" + (f": {yuan(facts.report.cost_cny)}" if price else "")
    embedded = facts.report.chunks.embedded
    words = "Tokens billed since the beginning" + (", and their price." if price else ".")
    if price and embedded:
        words += f" {yuan(1000 * facts.report.cost_cny / embedded)} for 1,000 chunks."
    return Chart(title, svg_of(figure, "spending"), words)


def progress(facts: RunFacts) -> Chart | None:
    """Chunks cut, embedded and loaded since the beginning: the gap between two lines is what waited."""
    series = facts.series
    if not _has_course(facts) or not series["chunks_cut"][-1]:
        return None
    figure, (axes,) = figure_of(HALF, 2.5)
    steps = [("chunks_cut", "orange", "cut"), ("chunks_embedded", "blue", "embedded"), ("chunks_loaded", "green", "in")]
    for name, colour, _ in steps:
        axes.plot(series["seconds"], series[name], color=COLOURS[colour], lw=1.8)
    axes.set_ylabel("chunks")
    axes.set_ylim(bottom=0)
    time_axis(axes, series)
    before_embedding = float(np.max(series["chunks_cut"] - series["chunks_embedded"]))
    before_loading = float(np.max(series["chunks_embedded"] - series["chunks_loaded"]))
    where = "to be embedded" if before_embedding >= before_loading else "to be loaded"
    waited = max(before_embedding, before_loading, 0.0)
    title = f"{series['chunks_loaded'][-1]:,.0f} chunks went in; at most {waited:,.0f} waited {where}"
    words = "Chunks since the beginning: the gap between two lines is what waits between two steps."
    return Chart(title, svg_of(figure, "progress"), words, tuple((colour, label) for _, colour, label in steps))


def latency_over_time(facts: RunFacts) -> Chart | None:
    """The mean time of an answer, moment by moment."""
    series = facts.series
    if len(series.get("seconds", ())) < 3 or not facts.pays or series["answers"][-1] < 2:
        return None
    edges, answers = binned(series, "answers")
    _, took_s = binned(series, "answers_s")
    mean_s = np.full(answers.size, np.nan)
    np.divide(took_s, answers, out=mean_s, where=answers > 0)
    figure, (axes,) = figure_of(HALF, 2.5)
    axes.plot(edges[1:], mean_s, color=COLOURS["purple"], lw=1.4, marker=".", ms=3)
    axes.set_ylabel("seconds, mean")
    axes.set_ylim(bottom=0)
    time_axis(axes, series)
    slowest = int(np.nanargmax(mean_s))
    title = (
        f"Answers took {short_s(float(took_s.sum() / answers.sum()))} on average, "
        f"{short_s(float(mean_s[slowest]))} in the slowest stretch"
    )
    words = f"Mean time from request to answer along the run; slowest after {format_duration(float(edges[slowest]))}."
    return Chart(title, svg_of(figure, "latency-over-time"), words)


def _chunk_rates(facts: RunFacts) -> Chart | None:
    series = facts.series
    if not series["chunks_cut"][-1]:
        return None
    figure, (axes,) = figure_of(WIDE, 2.2)
    rate_area(axes, series, "chunks_embedded", "blue")
    edges, loaded = binned(series, "chunks_loaded")
    axes.step(edges, stepped(loaded / np.diff(edges)), where="post", color=COLOURS["green"], lw=1.4)
    axes.set_ylabel("chunks/s")
    axes.set_ylim(bottom=0)
    time_axis(axes, series)
    title = f"{series['chunks_loaded'][-1] / _seconds(facts):,.0f} chunks/s went in, over the whole run"
    legend = (("blue", "embedded"), ("green", "loaded into Milvus"))
    return Chart(title, svg_of(figure, "throughput"), "Chunks a second.", legend, wide=True)


def _has_course(facts: RunFacts) -> bool:
    seconds = facts.series.get("seconds", np.zeros(0))
    return seconds.size >= 2 and bool(seconds[-1] > seconds[0])


def _seconds(facts: RunFacts) -> float:
    return max(facts.report.seconds, 1e-9)


def _times(factor: float) -> Callable[[npt.ArrayLike], npt.ArrayLike]:
    return lambda values: np.asarray(values, np.float64) * factor


def _gaps(values: Numbers) -> Numbers:
    return np.where(values > 0, values, np.nan)


def _top(axes: Axes, limit: float) -> float:
    return max(float(axes.dataLim.y1), limit, 1e-9)


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
