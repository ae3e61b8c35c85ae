"""Rerank beside OpenAI's API, which has none: as Jina and Cohere have it at `/openai/v1/rerank`, and TEI's own at `/openai/rerank`.

vLLM, Infinity and Xinference answer as Jina does. TEI takes `texts` and answers a bare list of `index` and `score`.
"""

from __future__ import annotations

import json

from tests.simulator.dialects.dialect import Dialect, json_object
from tests.simulator.dialects.openai_errors import OpenAiVoice, TeiRerankVoice
from tests.simulator.dialects.openai_style import account_of
from tests.simulator.dialects.rerank import RankingJob, ranking_job, results
from tests.simulator.faults import Damage
from tests.simulator.model.models import UNLIMITED, RerankModel
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request


class OpenAiRerank(Dialect[RankingJob]):
    """Answers `POST /openai/v1/rerank`. TEI has none there."""

    routes = ("/openai/v1/rerank",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, OpenAiVoice(provider))

    def read(self, request: Request) -> RankingJob:
        """The job of `request`. Raises Refused."""
        settings = self.provider.settings.openai
        if settings.flavour == "tei":
            raise Refused(Reason.BAD_ROUTE)
        body = json_object(request)
        account = account_of(self.provider, request)
        name = body.get("model")
        if name not in settings.rerankers:
            raise Refused(Reason.UNKNOWN_MODEL, model=name)
        documents = body.get("documents")
        if isinstance(documents, list):
            documents = [document.get("text") if isinstance(document, dict) else document for document in documents]
        return ranking_job(
            self.provider,
            account,
            _reranker(self.provider, str(name), cuts=False),
            body.get("query"),
            documents,
            top_n=body.get("top_n"),
            returns_documents=settings.returned_documents == "always" or body.get("return_documents") is True,
        )

    def body(self, job: RankingJob, damage: Damage | None, request_id: str) -> bytes:
        """Results, best first, model and usage."""
        answer: dict[str, object] = {
            "id": f"rerank-{request_id}",
            "model": job.model.name,
            "results": results(self.provider, job, damage),
        }
        usage = self.provider.settings.openai.usage
        if usage != "absent":
            answer["usage"] = {"total_tokens": job.tokens if usage == "counted" else 0}
        return json.dumps(answer).encode()


class TeiRerank(Dialect[RankingJob]):
    """Answers `POST /openai/rerank` as TEI does its `/rerank`, whatever `openai.flavour` says."""

    routes = ("/openai/rerank",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, TeiRerankVoice(provider))

    def read(self, request: Request) -> RankingJob:
        """The job of `request`. Raises Refused."""
        settings = self.provider.settings.openai
        body = json_object(request)
        account = account_of(self.provider, request)
        texts = body.get("texts")
        if not isinstance(body.get("query"), str) or not isinstance(texts, list):
            raise Refused(Reason.BAD_BODY)
        return ranking_job(
            self.provider,
            account,
            _reranker(self.provider, settings.rerankers[0], cuts=body.get("truncate") is True),
            body.get("query"),
            texts,
            returns_documents=body.get("return_text") is True,
        )

    def body(self, job: RankingJob, damage: Damage | None, request_id: str) -> bytes:
        """A bare list, best first."""
        ranks = []
        for result in results(self.provider, job, damage):
            rank = {"index": result["index"]}
            if isinstance(document := result.get("document"), dict):
                rank["text"] = document["text"]
            if "relevance_score" in result:
                rank["score"] = result["relevance_score"]
            ranks.append(rank)
        return json.dumps(ranks).encode()


def _reranker(provider: Provider, name: str, *, cuts: bool) -> RerankModel:
    settings = provider.settings.openai
    return RerankModel(
        name=name,
        documents_per_request=settings.texts_per_request or UNLIMITED,
        tokens_per_text=settings.tokens_per_text or 8192,
        over_long="cut" if cuts else "refuse",
        quota="openai",
    )
