"""The text of a run's page in Markdown, for a page that another program shows, such as Prefect's."""

import re
from collections.abc import Sequence

from millrace.flows.commands.report.advice import advice
from millrace.flows.commands.report.facts import RunFacts
from millrace.flows.commands.report.formatting import bottleneck_words, format_duration, short_s

_SLOWEST_SHOWN = 5
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&:-])")


def markdown_summary(facts: RunFacts) -> str:
    """What to change, what held the run up, what was learned of the limits, and what was slow to read."""
    parts = [_what_to_change(facts), _waits(facts), _learned(facts), _slowest(facts)]
    return "\n\n".join(part for part in parts if part)


def escaped(text: str) -> str:
    r"""`text` on one line, as Markdown that shows it letter by letter: no link, picture, table or HTML comes of a name.

    >>> print(escaped("![x](http://a.example/y) |<b>"))
    \!\[x\]\(http\://a.example/y\) \|\<b\>
    """
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def fenced(lines: Sequence[str]) -> str:
    """Lines as they are, in a Markdown block that none of them can end."""
    text = "\n".join(lines)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _what_to_change(facts: RunFacts) -> str:
    found = advice(facts)
    return (
        "\n".join(["### What to change", "", *(f"1. **{one.finding}** {one.remedy}" for one in found)]) if found else ""
    )


def _waits(facts: RunFacts) -> str:
    held = facts.held_s
    if not held:
        return ""
    total = sum(held.values())
    rows = [
        f"| {bottleneck_words(facts, name)} | {format_duration(seconds)} | {seconds / total:.0%} |"
        for name, seconds in held.items()
        if seconds >= 0.005 * total
    ]
    return "\n".join(["### What the run waited for", "", "| | | |", "|---|---:|---:|", *rows])


def _learned(facts: RunFacts) -> str:
    learned = facts.learned
    known = {"requests/s": learned.requests_per_second, "tokens/s": learned.tokens_per_second}
    limits = ", ".join(f"{value:,.0f} {name}" for name, value in known.items() if value)
    return f"Limits as learned from refusals: {limits}" if limits else ""


def _slowest(facts: RunFacts) -> str:
    shown = facts.facts.slowest[:_SLOWEST_SHOWN]
    if not shown:
        return ""
    rows = [
        f"| {short_s(reading.seconds)} | {escaped(reading.largest)}"
        + (f" and {reading.documents - 1:,} others" if reading.documents > 1 else "")
        + f" | {reading.chunks:,} |"
        for reading in shown
    ]
    return "\n".join(["### Slowest to read", "", "| took | documents | chunks |", "|---:|---|---:|", *rows])
