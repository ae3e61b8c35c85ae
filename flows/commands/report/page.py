"""A run's page as one HTML file that needs nothing else: no network, no script, no font.

`page.html` is the template; it escapes whatever documents, providers and settings say.
"""

import re
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from millrace.flows.commands.report import charts
from millrace.flows.commands.report.advice import advice, headline, tiles
from millrace.flows.commands.report.facts import LISTED, RunFacts, short_item
from millrace.flows.commands.report.formatting import format_duration, pluralize, short_s

_SLOWEST_SHOWN = 10
_CELL_CHARACTERS = 400


def page_of(facts: RunFacts) -> str:
    """The page, whole. What documents, providers and settings say is escaped."""
    record, report = facts.record, facts.report
    collection = report.collection or str(facts.setting("milvus.collection") or "")
    along = (charts.throughput, charts.bottlenecks, charts.progress, charts.spending)
    pictures = {
        "Along the run": [draw(facts) for draw in (*along, charts.latency_over_time, charts.latency)],
        "What came of it": [charts.formats(facts), charts.chunk_sizes(facts)],
    }
    folder = files("millrace.flows.commands.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shorten": _shortened, "split_code": _split_code}
    return environment.from_string(folder.joinpath("page.html").read_text("utf-8")).render(
        style=folder.joinpath("style.css").read_text("utf-8"),
        what=[f"millrace {record.command}", collection, f"{record.started[:19].replace('T', ' ')} UTC", report.model],
        state="rejects" if facts.state == "finished" and facts.rejects.total else facts.state,
        collection=collection,
        headline=headline(facts),
        report=report,
        facts=facts.facts,
        tiles=tiles(facts),
        advice=advice(facts),
        pictures=[(title, [chart for chart in drawn if chart is not None]) for title, drawn in pictures.items()],
        rejects=facts.rejects,
        listed=LISTED,
        slowest=facts.facts.slowest[:_SLOWEST_SHOWN],
        limits=_limits(facts) if facts.pays else None,
        refused=", ".join(f"{name} {count:,}" for name, count in facts.facts.throttled_by.items() if count),
        settings=_settings(facts),
        run=record.id,
        as_of=_as_of(facts),
        format_duration=format_duration,
        pluralize=pluralize,
        short_item=short_item,
        short_s=short_s,
    )


def _limits(facts: RunFacts) -> list[tuple[str, str, str]]:
    """Each limit that is set or was learned: its name, what was set, and at which rate requests were refused."""
    limits, learned = facts.facts.limits, facts.learned
    rows = [
        ("requests a second", limits.requests_per_second, learned.requests_per_second),
        ("tokens a second", limits.tokens_per_second, learned.tokens_per_second),
        ("requests a minute", limits.requests_per_minute, None),
        ("tokens a minute", limits.tokens_per_minute, None),
        ("growth, requests a second", None, learned.growth_per_s),
    ]
    return [(name, _rate(as_set), _rate(refused_at)) for name, as_set, refused_at in rows if as_set or refused_at]


def _settings(facts: RunFacts) -> list[tuple[str, str]]:
    return [
        (f"{section}.{key}", str(value))
        for section, values in facts.record.settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value not in ("", None, 0, [])
    ]


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL_CHARACTERS else text[:_CELL_CHARACTERS] + " …"


def _split_code(text: str) -> list[str]:
    """Plain text and what stands between `backticks`, in turns."""
    return re.split(r"`([^`]*)`", _shortened(text))


def _rate(value: float | None) -> str:
    return f"{value:,.10g}" if value else ""


def _as_of(facts: RunFacts) -> str:
    if facts.state == "running":
        return ", which goes on; this page is as of its last sample"
    return "" if facts.series else "; it left no timeline, so there are no pictures of its course"
