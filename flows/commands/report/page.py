"""A run's page as one HTML file that needs nothing else: no network, no script, no font."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from millrace.flows.commands.report import charts
from millrace.flows.commands.report.advice import advice, headline, tiles
from millrace.flows.commands.report.charts import Chart
from millrace.flows.commands.report.facts import LISTED, RunFacts, short_item
from millrace.flows.commands.report.formatting import format_duration, pluralize, short_s

_SLOWEST_SHOWN = 10
_CELL_CHARACTERS = 400


def page_of(facts: RunFacts) -> str:
    """The page, whole. What documents, providers and settings say is escaped."""
    record, report = facts.record, facts.report
    collection = report.collection or str(facts.setting("milvus.collection") or "")
    what = [f"millrace {record.command}", collection, f"{record.started[:19].replace('T', ' ')} UTC", report.model]
    style = files("millrace.flows.commands.report").joinpath("style.css").read_text("utf-8")
    state = "rejects" if facts.state == "finished" and facts.rejects.total else facts.state
    body = [
        f'<header class="{state}">',
        f'<p class="what">{" · ".join(escape(part) for part in what if part)}</p>',
        f'<h1><span class="mark"></span>{escape(headline(facts))}</h1>',
        f'<p class="error">{escape(report.error)}</p>' if report.error else "",
        "</header>",
        _tiles(facts),
        _advice(facts),
        _section("Along the run", _charts(_along(facts))),
        _section("What came of it", _charts(_outcome(facts))),
        _rejects(facts),
        _slowest(facts),
        _limits(facts),
        _settings(facts),
        f"<footer>Run <code>{escape(record.id)}</code>{_as_of(facts)}. Times are UTC.</footer>",
    ]
    title = f"{collection}: {headline(facts)}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _along(facts: RunFacts) -> list[Chart | None]:
    drawn = [charts.throughput, charts.bottlenecks, charts.progress, charts.spending]
    return [draw(facts) for draw in (*drawn, charts.latency_over_time, charts.latency)]


def _outcome(facts: RunFacts) -> list[Chart | None]:
    return [charts.formats(facts), charts.chunk_sizes(facts)]


def _tiles(facts: RunFacts) -> str:
    shown = [
        f'<div class="tile"><b>{escape(tile.figure)}</b><span class="name">{escape(tile.name)}</span>'
        f"<span>{escape(tile.words)}</span></div>"
        for tile in tiles(facts)
    ]
    return '<div class="tiles">' + "".join(shown) + "</div>"


def _advice(facts: RunFacts) -> str:
    found = advice(facts)
    if not found:
        return ""
    items = "".join(f"<li><b>{_marked(one.finding)}</b> {_marked(one.remedy)}</li>" for one in found)
    return _section("What to change", f'<ol class="advice">{items}</ol>')


def _charts(charts: Iterable[Chart | None]) -> str:
    return "".join(_figure(chart) for chart in charts if chart is not None)


def _figure(chart: Chart) -> str:
    keys = "".join(
        f'<li><i style="background:var(--{colour})"></i>{escape(label)}</li>' for colour, label in chart.legend
    )
    return (
        f'<figure class="{"wide" if chart.wide else ""}"><figcaption><h3>{escape(chart.title)}</h3>'
        f"<p>{escape(chart.words)}</p>{f'<ul class=legend>{keys}</ul>' if keys else ''}</figcaption>"
        f'<div class="picture">{chart.svg}</div></figure>'
    )


def _section(title: str, content: str) -> str:
    if not content:
        return ""
    if content.startswith("<figure"):
        content = f'<div class="charts">{content}</div>'
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _rejects(facts: RunFacts) -> str:
    rejects = facts.rejects
    if not rejects.total:
        return ""
    rows = [
        [
            f"{group.count:,}",
            f"<code>{escape(group.reason)}</code><small>in {pluralize(group.documents, 'document')}</small>",
            f"{_cell(group.message)}<small>{_cell('; '.join(group.examples))}</small>",
            _marked(group.remedy[:1].upper() + group.remedy[1:]),
        ]
        for group in rejects.groups
    ]
    table = _table(["#items", "=reason", "for example", "what to do"], rows)
    each = [
        [
            f"<code>{escape(row['reason'])}</code>",
            _source(row["source"], short_item(row["item"])),
            _cell(row["message"]),
        ]
        for row in rejects.listed
    ]
    shown = "each of them" if rejects.total <= LISTED else f"the first {LISTED:,} of them"
    listed = f'<details class="long"><summary>{shown}</summary>{_table(["=reason", "document", "why"], each)}</details>'
    return _section(f"{pluralize(rejects.total, 'item')} that this run did not take", table + listed)


def _slowest(facts: RunFacts) -> str:
    shown = facts.facts.slowest[:_SLOWEST_SHOWN]
    if not shown:
        return ""
    rows = [
        [
            short_s(reading.seconds),
            _source(
                reading.largest, f"and {pluralize(reading.documents - 1, 'other')}" if reading.documents > 1 else ""
            ),
            f"{reading.chunks:,}",
        ]
        for reading in shown
    ]
    table = _table(["#took", "largest document of the part", "#chunks"], rows)
    whole = (
        f"<p>Reading and cutting took {format_duration(facts.facts.reading_s)} in all, on "
        f"{pluralize(facts.facts.readers, 'process', 'processes')}; loading took "
        f"{format_duration(facts.facts.loading_s)}.</p>"
    )
    return _section("What was slow to read", whole + table)


def _limits(facts: RunFacts) -> str:
    if not facts.pays:
        return ""
    limits, learned = facts.facts.limits, facts.learned
    rows = [
        ["requests a second", _rate(limits.requests_per_second), _rate(learned.requests_per_second)],
        ["tokens a second", _rate(limits.tokens_per_second), _rate(learned.tokens_per_second)],
        ["requests a minute", _rate(limits.requests_per_minute), ""],
        ["tokens a minute", _rate(limits.tokens_per_minute), ""],
        ["growth, requests a second", "", _rate(learned.growth_per_s)],
    ]
    refused = ", ".join(f"{escape(name)} {count:,}" for name, count in facts.facts.throttled_by.items() if count)
    words = f"<p>Answered 429, by the limit named: {refused or 'none'}.</p>"
    shown = [row for row in rows if row[1] or row[2]]
    heads = ["limit", "#as set", "#refused at, as learned since"]
    if not any(row[2] for row in shown):
        shown, heads = [row[:2] for row in shown], heads[:2]
    return _section("Limits", words + _table(heads, shown))


def _settings(facts: RunFacts) -> str:
    rows = [
        [f"<code>{escape(section)}.{escape(key)}</code>", f"<code>{_cell(str(value))}</code>"]
        for section, values in facts.record.settings.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value not in ("", None, 0, [])
    ]
    if not rows:
        return ""
    return f'<details class="long"><summary>settings of the run</summary>{_table(["setting", "value"], rows)}</details>'


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are HTML; a head that begins with # is of numbers, one with = of what is never broken."""
    kinds = [{"#": " class=n", "=": " class=tight"}.get(head[0], "") for head in heads]
    head = "".join(f"<th{kind}>{escape(text.lstrip('#='))}</th>" for text, kind in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _source(source: str, more: str) -> str:
    return f"{_cell(source)}<small>{_cell(more)}</small>" if more else _cell(source)


def _cell(text: str) -> str:
    return escape(text if len(text) <= _CELL_CHARACTERS else text[:_CELL_CHARACTERS] + " …")


def _marked(text: str) -> str:
    """Text whose `code` is set as such."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _cell(text))


def _rate(value: float) -> str:
    return f"{value:,.10g}" if value else ""


def _as_of(facts: RunFacts) -> str:
    if facts.state == "running":
        return ", which goes on; this page is as of its last sample"
    return "" if facts.series else "; it left no timeline, so there are no pictures of its course"
