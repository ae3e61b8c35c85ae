"""Numbers and causes in the words of a run's page."""

from collections.abc import Mapping

from millrace.flows.commands.report.facts import RunFacts

BOTTLENECK_WORDS: Mapping[str, str] = {
    "tokens": "the limit of tokens",
    "requests": "the limit of requests",
    "growth": "the limit of growth",
    "pause": "a pause after failures",
    "slots": "answers, with as many requests under way as allowed",
    "answers": "the provider's answers",
    "reading": "reading and cutting",
    "milvus": "Milvus",
    "comparing": "comparing the sources with the manifest",
    "batch": "Batch jobs",
    "closing": "tidying up and closing the collection",
}


def bottleneck_words(facts: RunFacts, name: str) -> str:
    """What a run that was held up by `name` waited for."""
    if name in {"answers", "slots"} and facts.facts.provider == "local":
        return "embedding on this machine"
    return BOTTLENECK_WORDS[name]


def short_s(seconds: float) -> str:
    """`240 ms`, `1.5 s`, `12 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s".replace(".0 s", " s") if seconds < 10 else f"{seconds:.0f} s"


def format_duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 21 s`, `2 h 5 min`, `3 days 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, smaller_s, smaller in ((86_400, "days", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            count, rest = divmod(whole, unit_s)
            named = "day" if (unit, count) == ("days", 1) else unit
            return f"{count} {named} {rest // smaller_s} {smaller}" if rest >= smaller_s else f"{count} {named}"
    return f"{whole} s"


def yuan(cny: float) -> str:
    """`¥0.0213`, `¥1.38`, `¥1,204`: four figures, more or less."""
    return f"¥{cny:.4f}" if cny < 0.995 else f"¥{cny:,.2f}" if cny < 1000 else f"¥{cny:,.0f}"


def format_count(count: float) -> str:
    """`912`, `27,300`, `2.76 million`."""
    return f"{count / 1e6:,.2f} million" if count >= 1e6 else f"{count:,.0f}"


def pluralize(count: int, thing: str, things: str = "") -> str:
    """`1 document`, `1,204 documents`."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
