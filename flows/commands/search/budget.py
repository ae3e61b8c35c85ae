"""What queries cost, and may cost: their embedding, and the reranking of what they find. For `search` and `eval`."""

from collections.abc import Sequence

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.embedding import RerankSpec, cost_cny
from millrace.tasks.errors import BudgetReached


class QueryBudget:
    """The cap of `budget.max_cny`, and what was spent of it: `tokens`, `rerank_tokens`, `rerank_requests`."""

    def __init__(self, settings: Settings, model: components.Model, rerank_spec: RerankSpec | None) -> None:
        self.cap_cny = settings.budget.max_cny
        self._spec = model.spec
        self._rerank_price = rerank_spec.price_cny_per_1k_tokens if rerank_spec is not None else 0.0
        self.tokens = 0
        self.rerank_tokens = 0
        self.rerank_requests = 0

    def count(self, text: str) -> int:
        """The tokens of a text, as the embedding model is billed for them."""
        from millrace.tasks.chunking import Tokenizer

        return Tokenizer.load(self._spec.tokenizer).count(text) + self._spec.end_mark_tokens

    def cost_cny(self, tokens: int, rerank_tokens: int = 0) -> float:
        """Yuan for so many tokens of texts, and of reranking."""
        return cost_cny(tokens, self._spec.price_cny_per_1k_tokens) + cost_cny(rerank_tokens, self._rerank_price)

    @property
    def spent_cny(self) -> float:
        """Yuan for what was billed so far."""
        return self.cost_cny(self.tokens, self.rerank_tokens)

    def exceeds_cap(self, cost_cny: float) -> bool:
        """Whether spending so much more would pass the cap."""
        return self.cap_cny is not None and self.spent_cny + cost_cny > self.cap_cny

    def check_query(self, query: str) -> None:
        """Raise `BudgetReached` if embedding the query would pass the cap."""
        if self.cap_cny is not None and self.exceeds_cap(cost := self.cost_cny(self.count(query))):
            raise BudgetReached(
                f"the query would cost about {cost:.6f} of {self.cap_cny} yuan (budget.max_cny); nothing was embedded"
            )

    def why_not_rerank(self, query: str, passages: Sequence[str]) -> str:
        """Why the passages cannot be reranked within the cap; "" where they can."""
        if self.cap_cny is None or not self._rerank_price:
            return ""
        tokens = self.count(query) * len(passages) + sum(self.count(passage) for passage in passages)
        if not self.exceeds_cap(cost := self.cost_cny(0, tokens)):
            return ""
        return (
            f"reranking {len(passages):,} passages would cost about {cost:.4f} of {self.cap_cny} yuan "
            "(budget.max_cny), so they are in the order of retrieval"
        )
