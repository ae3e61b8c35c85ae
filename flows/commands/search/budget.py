"""What a single search costs, and may cost: its query, and the reranking of what it finds."""

from collections.abc import Sequence

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.embedding import cost_cny
from millrace.tasks.errors import BudgetReached


class QueryBudget:
    """The cap of `budget.max_cny`, for one search, and what was spent of it."""

    def __init__(self, settings: Settings, model: components.Model) -> None:
        self._cap = settings.budget.max_cny
        self._spec = model.spec
        self._rerank_spec = components.find_rerank_spec(settings)
        self.tokens = 0
        self.spent_cny = 0.0

    def check_query(self, query: str) -> None:
        """Raise `BudgetReached` if embedding the query would pass the cap."""
        if self._cap is None:
            return
        cost = cost_cny(self._count(query), self._spec.price_cny_per_1k_tokens)
        if cost > self._cap:
            raise BudgetReached(
                f"the query would cost about {cost:.6f} of {self._cap} yuan (budget.max_cny); nothing was bought"
            )

    def why_not_rerank(self, query: str, passages: Sequence[str]) -> str:
        """Why the passages cannot be reranked within the cap; "" where they can."""
        if self._cap is None or self._rerank_spec is None:
            return ""
        tokens = self._count(query) * len(passages) + sum(self._count(passage) for passage in passages)
        cost = cost_cny(tokens, self._rerank_spec.price_cny_per_1k_tokens)
        if self.spent_cny + cost <= self._cap:
            return ""
        return (
            f"reranking {len(passages):,} passages would cost about {cost:.4f} of {self._cap} yuan (budget.max_cny), "
            "so they are in the order of retrieval"
        )

    def charge(self, tokens: int, price_cny_per_1k_tokens: float) -> None:
        """Note what was billed."""
        self.tokens += tokens
        self.spent_cny += cost_cny(tokens, price_cny_per_1k_tokens)

    def charge_reranking(self, tokens: int) -> None:
        """Note what reranking was billed."""
        if self._rerank_spec is not None:
            self.charge(tokens, self._rerank_spec.price_cny_per_1k_tokens)

    def _count(self, text: str) -> int:
        from millrace.tasks.chunking import Tokenizer

        return Tokenizer.load(self._spec.tokenizer).count(text) + self._spec.end_mark_tokens
