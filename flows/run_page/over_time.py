"""The pictures of a run that go along its time: pace, what held it up, money, chunks, answers."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from flows.run_page.drawing import (
    COLOURS,
    FONT_PT,
    HALF,
    WIDE,
    Chart,
    binned,
    figure_of,
    rate_area,
    stepped,
    svg_of,
    time_axis,
)
from flows.run_page.facts import Numbers, RunFacts
from flows.run_page.wording import HOLDUP_WORDS, holdup_words, large, lasting, short_s, yuan

_LEAST_SHARE = 0.002  # of what a run waited for, below which it is not drawn
_HOLDUP_COLOURS = dict(
    zip(HOLDUP_WORDS, ("blue", "sky", "teal", "red", "purple", "sand", "orange", "green", "grey", "muted"), strict=True)
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


def holdups(facts: RunFacts) -> Chart | None:
    """What the run waited for, as shares of each moment."""
    series, held = facts.series, facts.held_s
    total = sum(held.values())
    shown = [name for name in HOLDUP_WORDS if held.get(name, 0.0) > _LEAST_SHARE * total]
    if not _has_course(facts) or len(shown) < 2:
        return None
    figure, (axes,) = figure_of(WIDE, 2.0)
    shares = {name: binned(series, f"held_{name}_s")[1] for name in shown}
    edges = binned(series, "seconds")[0]
    whole = np.maximum(sum(shares.values(), np.zeros(edges.size - 1)), 1e-9)
    base = np.zeros(edges.size - 1)
    for name in shown:
        top = base + shares[name] / whole
        axes.fill_between(edges, stepped(base), stepped(top), step="post", color=COLOURS[_HOLDUP_COLOURS[name]], lw=0.0)
        base = top
    axes.set_ylim(0, 1)
    axes.set_ylabel("share of the time")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    time_axis(axes, series)
    most = next(iter(held))
    legend = tuple(
        (_HOLDUP_COLOURS[name], f"{holdup_words(facts, name)}: {_share(held[name] / total)}")
        for name in held
        if name in shown
    )
    title = f"{_sentence(holdup_words(facts, most))} held the run up for {held[most] / total:.0%} of its time"
    words = "What the run waited for at each moment, so that more of it would have made the run faster."
    return Chart(title, svg_of(figure, "holdups"), words, legend, wide=True)


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
    title = f"{large(billed)} tokens were billed" + (f": {yuan(facts.report.cost_cny)}" if price else "")
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
    words = f"Mean time from request to answer along the run; slowest after {lasting(float(edges[slowest]))}."
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
