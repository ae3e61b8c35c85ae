"""The pictures of a run that count: answers by how long they took, chunks by size, documents by format."""

from collections.abc import Callable

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flows.observations import FormatCounts
from flows.run_page.drawing import COLOURS, HALF, Chart, figure_of, svg_of
from flows.run_page.facts import RunFacts
from flows.run_page.wording import short_s

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
