"""The commands that ask the index: `search` and `eval`."""

import sys
from pathlib import Path

import click

from millrace.flows.cli.console import common, finish, print_lines, say, settings_of


@click.command(short_help="Show the passages that answer QUERY, best first.")
@click.argument("query")
@click.option("--filter", "expression", default="", metavar="EXPRESSION", help="A Milvus filter on `metadata`.")
@click.option("--top-k", type=int, metavar="N", help="Rows asked of Milvus; search.top_k.")
@click.option("--top-n", type=int, metavar="N", help="Passages shown; search.top_n.")
@click.option("--no-rerank", is_flag=True, help="Leave the passages in the order of retrieval.")
@common
def search(
    query: str,
    *,
    expression: str,
    top_k: int | None,
    top_n: int | None,
    no_rerank: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the passages that answer QUERY, with file, page and heading: retrieved, then reranked.

    \b
      millrace search "where is the spare handle kept"
      millrace search "水斗板的含水率" --filter 'metadata["page_start"] <= 3'
      millrace search "how is the sluice opened" --top-k 50 --top-n 10
    """
    from millrace.flows.commands.search.excerpt import plain_lines, print_coloured
    from millrace.flows.commands.search.search import search as search_collection

    found = search_collection(
        query,
        settings=settings_of(config, overrides),
        top_k=top_k,
        top_n=top_n,
        filter=expression,
        rerank=not no_rerank,
    )

    def show() -> None:
        if sys.stdout.isatty():
            print_coloured(found)
        else:
            print_lines(plain_lines(found))

    finish(found, as_json=as_json, show=show)


@click.command("eval", short_help="Prove the index by its own sentences, or by questions of yours.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Chunks to ask for; 200.")
@click.option("--seed", type=int, metavar="N", help="Draws another sample; 0.")
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask these instead: JSON Lines with question and sources.",
)
@click.option("--k", "ks", default="1,5,10,20", show_default=True, metavar="K,...", help="Depths to measure recall at.")
@click.option("--no-rerank", is_flag=True, help="Measure retrieval alone.")
@click.option(
    "--min-self-hit", type=click.FloatRange(0, 1), metavar="SHARE", help="Exit 1 when fewer chunks come first."
)
@click.option("--history", is_flag=True, help="Show the evaluations so far, and ask nothing.")
@common
def evaluate(
    *,
    sample: int | None,
    seed: int | None,
    questions: Path | None,
    ks: str,
    no_rerank: bool,
    min_self_hit: float | None,
    history: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Prove the index: ask for chunks by a sentence of their own text, and see whether they come first.

    Or ask the questions of a file and see whether the expected sources come.

    \b
      millrace eval
      millrace eval --sample 1000 --seed 7 --min-self-hit 0.9
      millrace eval --questions questions.jsonl --k 1,5
      millrace eval --history
    """
    from millrace.flows.commands.evaluate import evaluate as evaluating

    settings = settings_of(config, overrides)
    if history:
        finish(evaluating.history(settings), as_json=as_json)
    options = evaluating.options_of(
        sample=sample, seed=seed, questions=questions, ks=ks, rerank=not no_rerank, min_self_hit=min_self_hit
    )
    result = evaluating.evaluate(settings, options, say=lambda line: say(line, as_json=False), quiet=as_json)
    finish(result, as_json=as_json)
