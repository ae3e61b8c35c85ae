"""What the run's page says first: how it ended, its figures, and what to change, each with the reason.

Every sentence of advice follows from a figure on the page; a run with nothing to improve gets none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from millrace.flows.commands.report.facts import RunFacts
from millrace.flows.commands.report.formatting import bottleneck_words, format_count, format_duration, pluralize, yuan

_MATTERS = 0.15  # of a run's time
_FEW_REFUSED = 0.005  # of requests
_DRIFTS = 0.01
_LONG_S = 20.0  # below which no advice on speed is worth reading

_REMEDIES = {
    "growth": "Nothing to change: it is the ramp that the provider asks for, and lasts seconds in a long run.",
    "pause": "The provider did not answer for a while; nothing to change here.",
    "slots": "More requests may be under way at once: raise `limits.max_in_flight`.",
    "answers": "The texts left did not fill the provider's time; larger runs use it better.",
    "milvus": "Use a Milvus server rather than Milvus Lite, or a faster one.",
    "batch": "Batch jobs end within their window; with --detach a run need not wait, with --by it is done in time.",
    "closing": "Milvus Lite makes its index when it is closed; with a Milvus server a run does not wait for that.",
}


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure: its name, and a few words below it."""

    figure: str
    name: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """What was found, and what to do, in Markdown of which only `code` is used."""

    finding: str
    remedy: str


def headline(facts: RunFacts) -> str:
    """How the run ended, in one sentence."""
    report, after = facts.report, format_duration(facts.report.seconds)
    broken_off = {
        "running": f"Still running, {after} so far",
        "killed": f"Killed after {after}; what was paid for is kept, and the next run goes on",
        "stopped": f"Stopped by an error after {after}",
        "budget": f"Stopped at the budget after {after}, at {yuan(report.cost_cny)}",
        "interrupted": f"Interrupted after {after}; what was paid for is kept",
    }
    if facts.state != "finished":
        return broken_off[facts.state]
    d = report.documents
    if report.batch.open:
        return f"Left {pluralize(report.batch.open, 'Batch job')} open after {after}; a later run takes them in"
    if not (d.added or d.changed or d.removed or facts.rejects.total or report.chunks.upserted):
        return f"Nothing had changed: {pluralize(d.seen, 'document')} compared in {after}"
    ended = f"All in after {after}" if not report.rejects else f"In after {after}, but for {_rejects(facts)}"
    return ended + (f", for {yuan(report.cost_cny)}" if report.cost_cny else "")


def tiles(facts: RunFacts) -> list[Tile]:
    """The figures that people ask for first."""
    report = facts.report
    d, c, r, t = report.documents, report.chunks, report.requests, report.tokens
    parts = {"added": d.added, "changed": d.changed, "unchanged": d.unchanged, "rejected": d.rejected}
    details = [f"{count:,} {what}" for what, count in parts.items() if count]
    if d.removed:
        details.append(f"{d.removed:,} removed")
    origin = {"embedded": c.embedded, "reused": c.reused, "unchanged": c.unchanged, "rejected": c.rejected}
    found = [Tile(f"{d.seen:,}", "documents", ", ".join(details))]
    found.append(Tile(f"{c.total:,}", "chunks", ", ".join(f"{n:,} {what}" for what, n in origin.items() if n)))
    found.append(Tile(f"{c.upserted:,}", "rows upserted", f"{c.deleted:,} deleted" if c.deleted else ""))
    if facts.pays:
        per_1000 = f"{yuan(1000 * report.cost_cny / c.embedded)} for 1,000 chunks" if c.embedded else ""
        rate = c.embedded / max(report.seconds, 1e-9)
        found.append(Tile(format_duration(report.seconds), "from start to end", f"{rate:,.1f} chunks/s embedded"))
        found.append(Tile(yuan(report.cost_cny), "cost", per_1000 if report.cost_cny else "no price is known"))
        drift = f"{t.drift:+.2%} of what was counted" if t.drift else "as counted"
        found.append(Tile(format_count(t.billed), "tokens billed", drift if t.billed else "the provider tells none"))
        found.append(Tile(f"{r.sent:,}", "requests", f"{r.throttled:,} answered 429, {r.retried:,} sent again"))
    if (batch := report.batch).jobs:
        still = f"{pluralize(batch.open, 'job')} open with {batch.texts_open:,} texts" if batch.open else ""
        saved = f"{yuan(batch.saved_cny)} less than at once" if batch.texts else ""
        found.append(Tile(f"{batch.texts:,}", "texts by Batch", "; ".join(filter(None, (saved, still)))))
    outstanding = facts.rejects.total + facts.rejects.earlier
    found.append(Tile(f"{outstanding:,}", "rejects outstanding", _by_age(facts.rejects.new, outstanding)))
    return found


def advice(facts: RunFacts) -> list[Advice]:
    """What to change, the most important first."""
    return [*_of_the_end(facts), *_of_rejects(facts), *_of_refusals(facts), *_of_speed(facts), *_of_tokens(facts)]


def _of_the_end(facts: RunFacts) -> Iterator[Advice]:
    report = facts.report
    if facts.state in {"killed", "stopped", "budget", "interrupted"}:
        left = report.left
        what = f"{pluralize(left.files, 'file')} are not in" if left and left.files else "The run did not end"
        remedy = "Run the same command again: it goes on from here, and buys nothing twice."
        if facts.state == "budget":
            remedy = "Raise `budget.max_cny` and run the same command again: it goes on from here."
        elif facts.state == "stopped":
            remedy = "Do what the message above says, then run the same command again: it goes on from here."
        yield Advice(what + ".", remedy)


def _of_rejects(facts: RunFacts) -> Iterator[Advice]:
    if facts.rejects.total:
        most = facts.rejects.groups[0]
        yield Advice(
            f"{pluralize(facts.rejects.total, 'item')} of {pluralize(facts.rejects.documents, 'document')} "
            f"{'was' if facts.rejects.total == 1 else 'were'} not taken"
            + (f", most ({most.count:,})" if len(facts.rejects.groups) > 1 else "")
            + f" as `{most.reason}`; {_by_age(facts.rejects.new, facts.rejects.total)}.",
            "The table of rejects says what to do about each; then `millrace rejects retry`.",
        )


def _of_refusals(facts: RunFacts) -> Iterator[Advice]:
    """Advice on 429s, and on what the provider fails at."""
    r, learned, limits = facts.report.requests, facts.learned, facts.facts.limits
    if not r.sent:
        return
    if r.throttled > _FEW_REFUSED * r.sent:
        by = max(facts.facts.throttled_by.items(), key=lambda item: item[1], default=("", 0))[0]
        known = [
            f"`limits.{name} = {value:,.0f}`".replace(",", "_")
            for name, value, limit in (
                ("requests_per_second", learned.requests_per_second, limits.requests_per_second),
                ("tokens_per_second", learned.tokens_per_second, limits.tokens_per_second),
            )
            if value and (value < limit or not limit)
        ]
        remedy = (
            f"The account seems to allow less than was set: {' and '.join(known)} would fit."
            if known
            else "The account's limits are lower than set, or others use them: put the console's figures into "
            "`[limits]`, or share them with `limits.shared_as`."
        )
        most = f", most by the limit of {by}" if by else ""
        yield Advice(f"{r.throttled / r.sent:.1%} of the requests were answered 429{most}.", remedy)
    failed = facts.facts.unavailable + facts.facts.unproven
    if failed > 0.01 * r.sent:
        yield Advice(
            f"{failed:,} of {pluralize(r.sent, 'request')} failed at the provider or on the way and were sent again.",
            "Nothing is lost by it but time; if it goes on, ask the provider, or look at the network.",
        )


def _of_speed(facts: RunFacts) -> Iterator[Advice]:
    held = facts.held_s
    total = sum(held.values())
    if total < _LONG_S:
        return
    for name, seconds in held.items():
        if seconds > _MATTERS * total and (remedy := _remedy(facts, name)):
            words = bottleneck_words(facts, name)
            yield Advice(
                f"{words[:1].upper()}{words[1:]} held the run up for {format_duration(seconds)} of "
                f"{format_duration(total)}.",
                remedy,
            )


def _remedy(facts: RunFacts, name: str) -> str:
    if name in {"answers", "slots"} and facts.facts.provider == "local":
        return "The provider `local` computes on this machine; more cores make it faster."
    if name in {"tokens", "requests"}:
        return (
            f"This is as fast as the account allows; only a higher limit of {name} makes it faster. Ask the provider "
            "for one, or see whether `[limits]` says less than its console."
        )
    if name == "reading":
        readers, cores = facts.facts.readers, facts.facts.cores
        faster = "raise `documents.workers`" if readers < cores else "more cores, or fewer heavy files, make it faster"
        return f"{pluralize(readers, 'reading process', 'reading processes')} on {pluralize(cores, 'core')}: {faster}."
    return _REMEDIES.get(name, "")


def _of_tokens(facts: RunFacts) -> Iterator[Advice]:
    tokens = facts.report.tokens
    if tokens.billed and abs(tokens.drift) > _DRIFTS:
        yield Advice(
            f"The provider bills {tokens.drift:+.1%} against what was counted.",
            "Plans and budgets are off by as much: see whether `embedding.tokenizer` is the model's own.",
        )


def _by_age(new: int, rejects: int) -> str:
    counts = {"new in this run": new, "known before": rejects - new}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _rejects(facts: RunFacts) -> str:
    if facts.rejects.total:
        return pluralize(facts.rejects.total, "reject")
    return f"{pluralize(facts.report.rejects, 'reject')} of earlier runs"
