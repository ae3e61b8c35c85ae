"""iFlytek's MaaS: `POST /iflytek/v1/embeddings` and `/iflytek/v1/rerank`.

Models are asked for by the id of a service and answer under their own name. Its page documents errors by HTTP status
alone (401, 403, 429, 500, 503) and no limit at all, so the body of an error and the limits are settings here. Usage
counts a template with each text, as in the page's own sample. Rerank has neither `top_n` nor `document`, and gives
its results in the order of the documents.
"""

from __future__ import annotations

import json
import time
from http import HTTPStatus

import orjson

from tests.simulator.dialects.compatible import data_body
from tests.simulator.dialects.compatible_errors import ERRORS
from tests.simulator.dialects.dialect import Dialect, json_object, listed_texts
from tests.simulator.dialects.rerank import RankingJob, ranking_job, results
from tests.simulator.faults import Damage
from tests.simulator.model.models import LEAST_DIMENSIONS, Model, RerankModel
from tests.simulator.provider import Form, Order, Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request, Response

# As on DashScope where iFlytek documents nothing else. That a service one does not own is 403 is a guess.
_STATUS = {reason: text.status for reason, text in ERRORS.items()} | {
    Reason.UNKNOWN_MODEL: 403,
    Reason.UNSUPPORTED_MODEL: 403,
    Reason.ARREARAGE: 403,
}
_OVERLOADED = "引擎过载"


class IflytekVoice:
    """A status, and whatever body `iflytek.error_body` says."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def refusal(self, refused: Refused, request_id: str) -> Response:
        """The error answer for `refused`."""
        status = _STATUS[refused.reason]
        phrase = _OVERLOADED if status == HTTPStatus.SERVICE_UNAVAILABLE else HTTPStatus(status).phrase
        match self._provider.settings.iflytek.error_body:
            case "empty":
                return Response(status, b"", content_type="text/plain")
            case "text":
                return Response(status, phrase.encode(), content_type="text/plain; charset=utf-8")
            case "message":
                return Response(status, orjson.dumps({"message": phrase}))

    def headers(self, request_id: str, arrived_ms: int) -> dict[str, str]:
        """None: the request id is in the body alone."""
        return {}

    def error_in_200(self, request_id: str) -> bytes:
        """Nothing is documented; a bare message."""
        return orjson.dumps({"message": _OVERLOADED})


class IflytekEmbeddings(Dialect[Order]):
    """Answers `POST /iflytek/v1/embeddings`."""

    routes = ("/iflytek/v1/embeddings",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, IflytekVoice(provider))

    def read(self, request: Request) -> Order:
        """The order of `request`. Raises Refused."""
        settings = self.provider.settings.iflytek
        body = json_object(request)
        account = self.provider.account_of(request.headers.get("authorization"))
        service = settings.services.get(str(body.get("model")))
        if service is None:
            raise Refused(Reason.UNKNOWN_MODEL, model=body.get("model"))
        name, dimensions = service
        asked = body.get("dimensions")
        if asked is not None and settings.dimensions != "ignore":
            within = type(asked) is int and LEAST_DIMENSIONS <= asked <= dimensions
            if not within or settings.dimensions == "refuse":
                raise Refused(Reason.DIMENSION, model=name, allowed=[dimensions])
            dimensions = asked
        model = Model.of_one_length(
            name,
            dimensions,
            texts_per_request=settings.texts_per_request,
            tokens_per_text=settings.tokens_per_text,
            end_tokens=settings.template_tokens,
            quota="iflytek",
        )
        texts = listed_texts(body.get("input"))
        form = Form(as_base64=body.get("encoding_format") == "base64")
        return self.provider.order(account, model, None, texts, form)

    def body(self, job: Order, damage: Damage | None, request_id: str) -> bytes:
        """Items, the model's own name, when it was made, and usage."""
        return data_body(self.provider, job, damage, _around(job, request_id))


class IflytekRerank(Dialect[RankingJob]):
    """Answers `POST /iflytek/v1/rerank`."""

    routes = ("/iflytek/v1/rerank",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, IflytekVoice(provider))

    def read(self, request: Request) -> RankingJob:
        """The job of `request`. Raises Refused."""
        settings = self.provider.settings.iflytek
        body = json_object(request)
        account = self.provider.account_of(request.headers.get("authorization"))
        name = settings.rerank_services.get(str(body.get("model")))
        if name is None:
            raise Refused(Reason.UNKNOWN_MODEL, model=body.get("model"))
        model = RerankModel(
            name=name,
            documents_per_request=settings.documents_per_request,
            tokens_per_text=settings.tokens_per_text,
            end_tokens=settings.template_tokens,
            quota="iflytek",
        )
        return ranking_job(self.provider, account, model, body.get("query"), body.get("documents"))

    def body(self, job: RankingJob, damage: Damage | None, request_id: str) -> bytes:
        """Results in the order of the documents, the model's own name, and usage."""
        answer = {**_around(job, request_id), "results": results(self.provider, job, damage, in_order=False)}
        return json.dumps(answer).encode()


def _around(job: Order | RankingJob, request_id: str) -> dict[str, object]:
    """What every answer has beside its items."""
    return {
        "object": "list",
        "id": request_id,
        "created": int(time.time()),
        "model": job.model.name,
        "usage": {"prompt_tokens": job.tokens, "total_tokens": job.tokens},
    }
