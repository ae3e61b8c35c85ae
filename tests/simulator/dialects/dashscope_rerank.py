"""DashScope's two rerank endpoints: the compatible one, which serves qwen3-rerank alone, and the native one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.simulator.dialects.compatible_errors import CompatibleVoice
from tests.simulator.dialects.dialect import Dialect, json_object
from tests.simulator.dialects.native_errors import NativeVoice
from tests.simulator.dialects.rerank import RankingJob, ranking_job, results
from tests.simulator.faults import Damage
from tests.simulator.model.models import Endpoint, RerankModel
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request


class CompatibleRerank(Dialect[RankingJob]):
    """Answers `POST /compatible-api/v1/reranks`."""

    routes = ("/compatible-api/v1/reranks",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, CompatibleVoice())

    def read(self, request: Request) -> RankingJob:
        """The job of `request`. Raises Refused."""
        body = json_object(request)
        account, model = _account_and_model(self.provider, request, body.get("model"), "compatible")
        return _job(self.provider, account, model, body, body)

    def body(self, job: RankingJob, damage: Damage | None, request_id: str) -> bytes:
        """Results, best first, model and usage."""
        answer = {
            "id": request_id,
            "object": "list",
            "model": job.model.name,
            "results": results(self.provider, job, damage),
            "usage": {"total_tokens": job.tokens},
        }
        # Not orjson, which writes null for NaN.
        return json.dumps(answer, ensure_ascii=False).encode()


class NativeRerank(Dialect[RankingJob]):
    """Answers `POST /api/v1/services/rerank/text-rerank/text-rerank`."""

    routes = ("/api/v1/services/rerank/text-rerank/text-rerank",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, NativeVoice())

    def read(self, request: Request) -> RankingJob:
        """The job of `request`. Raises Refused."""
        body = json_object(request)
        account, model = _account_and_model(self.provider, request, body.get("model"), "native")
        given, parameters = body.get("input"), body.get("parameters") or {}
        if not isinstance(given, dict) or not isinstance(parameters, dict):
            raise Refused(Reason.BAD_BODY)
        return _job(self.provider, account, model, given, parameters)

    def body(self, job: RankingJob, damage: Damage | None, request_id: str) -> bytes:
        """`output.results`, best first, usage and request id."""
        answer = {
            "output": {"results": results(self.provider, job, damage)},
            "usage": {"total_tokens": job.tokens},
            "request_id": request_id,
        }
        return json.dumps(answer, ensure_ascii=False).encode()


def _account_and_model(
    provider: Provider, request: Request, name: object, endpoint: Endpoint
) -> tuple[str, RerankModel]:
    account = provider.account_of(request.headers.get("authorization"))
    if not isinstance(name, str) or not name:
        raise Refused(Reason.BAD_BODY)
    return account, provider.reranker_named(name, endpoint)


def _job(
    provider: Provider, account: str, model: RerankModel, texts: Mapping[str, object], options: Mapping[str, object]
) -> RankingJob:
    """The job of what both endpoints call by the same names, in other places of the body."""
    return ranking_job(
        provider,
        account,
        model,
        texts.get("query"),
        texts.get("documents"),
        top_n=options.get("top_n"),
        instruct=options.get("instruct"),
        returns_documents=options.get("return_documents") is True,
    )
