"""What refusals mean, by status, code and message: of DashScope, OpenAI, vLLM, TEI, Ollama, llama.cpp and Infinity.

`type` in an error body is ignored: DashScope's compatible and native endpoints give it different meanings.

Sources, read 2026-11. DashScope: Model Studio's error-code, rate-limit and rate-limit best-practice pages; bodies in
public issue threads. OpenAI: its error-code and rate-limit guides; langchain-ai/langchain#31227 and #7343. Servers:
vllm-project/vllm#19798 (too long), #16331 and #15465 (dimensions); huggingface/text-embeddings-inference
(`core/src/tokenization.rs`, `router/src/http/server.rs`); ggml-org/llama.cpp#7389 and ollama's
`normalizeEmbeddingError` (too long); michaelfeil/infinity#307 (too many).
"""

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
    ThrottledLimit,
)
from millrace.tasks.secrets import mask

Action = Literal["stop", "configure", "slow", "wait", "refuse"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do about an answer with one of these codes or phrases (lower case) or statuses.

    `detail` is the limit of a "slow" rule and the reject reason of a "refuse" rule; `remedy` is for the user.
    """

    action: Action
    remedy: str
    detail: str = ""
    codes: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()
    statuses: frozenset[int] = frozenset()

    def matches(self, status: int, code: str, message: str) -> bool:
        """Whether the rule applies; `code` and `message` in lower case."""
        return code in self.codes or status in self.statuses or any(phrase in message for phrase in self.phrases)

    def only_statuses(self) -> "Rule":
        """The rule without codes and phrases, for a provider that documents only statuses."""
        return replace(self, codes=frozenset(), phrases=())


MAX_RETRY_AFTER_S = 300.0
"""A longer `Retry-After` is not obeyed: the longest limit is a minute, and a request that is refused costs nothing."""

_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict, _REPR.maxstring, _REPR.maxother = 4, 20, 20, 10_000, 10_000

_WAIT = "millrace waits and tries again"
_SLOW = "millrace slows down and tries again"
_KEY = "check the key in the variable that embedding.api_key_env names; keys belong to one region (embedding.base_url)"
UNEXPLAINED_REFUSAL = "refused_by_provider"
"""The reject reason of a refusal that names no cause."""
_TEXT = "the chunk is left out; look at it in its document"

# The first matching rule of a list decides. So money comes before rate, because some 429s mean an empty account, which
# waiting cannot cure; and codes that name a limit come before the bare status 429.
_DASHSCOPE: tuple[Rule, ...] = (
    Rule(
        "stop",
        "pay the bill or buy the model's quota in the provider's console and run again; finished vectors are kept",
        codes=frozenset(
            [
                *("arrearage", "allocationquota.freetieronly"),
                *("commoditynotpurchased", "prepaidbilloverdue", "postpaidbilloverdue"),
            ]
        ),
        phrases=("free allocated quota exceeded", "account is in good standing", "product is not activated"),
    ),
    Rule(
        "slow",
        _SLOW,
        "growth",
        codes=frozenset(["limit_burst_rate", "throttling.burstrate"]),
        phrases=("rate increased too quickly",),
    ),
    Rule(
        "slow",
        _SLOW,
        "tokens",
        # At DashScope `insufficient_quota` means tokens per minute, not an account out of credit.
        codes=frozenset(["insufficient_quota", "throttling.allocationquota"]),
        phrases=("allocated quota exceeded", "exceeded your current quota"),
    ),
    Rule(
        "slow",
        _SLOW,
        "requests",
        codes=frozenset(["limit_requests", "limitrequests", "throttling", "throttling.ratequota"]),
        phrases=("requests rate limit exceeded", "exceeded your current request"),
    ),
)

COMMON_RULES: tuple[Rule, ...] = (
    Rule("slow", _SLOW, "unknown", statuses=frozenset([429])),
    Rule("stop", _KEY, codes=frozenset(["invalid_api_key", "invalidapikey"]), statuses=frozenset([401])),
    Rule(
        "stop",
        "check that the account has activated the model and that the key's workspace may use it",
        codes=frozenset(["accessdenied", "accessdenied.unpurchased", "model.accessdenied", "workspace.accessdenied"]),
        phrases=("does not support asynchronous calls", "does not support synchronous calls"),
        statuses=frozenset([403]),
    ),
    Rule(
        "stop",
        "check embedding.model; the provider does not offer this model at this address",
        codes=frozenset(["modelnotfound", "model_not_found", "model_not_supported", "workspacenotfound"]),
        phrases=("unsupported model", "model not exist"),
    ),
    Rule(
        "stop",
        "check embedding.base_url (most end in /v1, and /embeddings should exist below it) and embedding.model",
        statuses=frozenset([404, 405, 301, 302, 307, 308]),
    ),
    Rule("configure", "lower limits.texts_per_request", phrases=("batch size is invalid",)),
    Rule("configure", "set embedding.dimensions to one that the model offers", phrases=("dimension",)),
    Rule("configure", "this endpoint takes no lists of texts", phrases=("contents is neither str nor list",)),
    Rule(
        "refuse",
        "make chunking.max_tokens smaller",
        "text_too_long",
        phrases=("range of input length should be", "maximum context length"),
    ),
    Rule(
        "refuse",
        _TEXT,
        "text_empty",
        codes=frozenset(["badrequest.emptyinput"]),
        phrases=("input is empty", "empty input"),
    ),
    Rule(
        "refuse",
        "the provider's content inspection does not take this text: leave it out, or use another provider for it",
        "content_inspection",
        codes=frozenset(["datainspectionfailed", "data_inspection_failed"]),
        phrases=("inappropriate content",),
    ),
    Rule(
        "refuse",
        "lower limits.tokens_per_request",
        "request_too_large",
        codes=frozenset(["badrequest.toolarge"]),
        statuses=frozenset([413]),
    ),
    Rule(
        "wait",
        _WAIT,
        codes=frozenset(
            [
                *("internalerror", "internal_error", "internalerror.algo", "internalerror.timeout", "systemerror"),
                *("modelservicefailed", "modelservingerror", "modelunavailable", "serviceunavailable"),
                *("gatewaytimeout", "requesttimeout", "responsetimeout"),
            ]
        ),
        statuses=frozenset([408, 409, 425, *range(500, 600)]),
    ),
    Rule("refuse", _TEXT, UNEXPLAINED_REFUSAL, statuses=frozenset([400, 415, 422])),
)
"""The end of every list of rules."""

DASHSCOPE_RULES: tuple[Rule, ...] = (*_DASHSCOPE, *COMMON_RULES)
"""For both APIs of DashScope."""

STATUS_RULES: tuple[Rule, ...] = tuple(rule.only_statuses() for rule in COMMON_RULES if rule.statuses)
"""For a provider that documents only statuses, such as iFlytek MaaS."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The content of an error body of any shape: compatible (`{"error": {...}}`), native, or not JSON."""

    status: int
    code: str
    message: str
    request_id: str

    @property
    def words(self) -> str:
        """`HTTP 429 limit_requests: You exceeded ... (request 318c...)`."""
        named = f"HTTP {self.status}" + (f" {self.code}" if self.code else "")
        text = f"{named}: {self.message.strip()}" if self.message.strip() else named
        return text + (f" (request {self.request_id})" if self.request_id else "")


def read_refusal(status: int, body: object, request_id: str = "") -> Refusal:
    """The refusal in a decoded `body` (a mapping, or text that is not JSON)."""
    if not isinstance(body, dict):
        return Refusal(status, "", quoted(body or "", 200), request_id)
    inner = body.get("error")
    fields: dict[str, Any] = inner if isinstance(inner, dict) else body
    message = inner if isinstance(inner, str) else fields.get("message") or _detail(fields.get("detail"))
    code = fields.get("code")
    found_id = request_id or body.get("request_id") or body.get("id") or ""
    # vLLM and TEI repeat the status as the code.
    code = "" if code in (None, status, str(status)) else quoted(code, 100)
    return Refusal(status, code, quoted(message, 500), quoted(found_id, 100))


def _detail(detail: object) -> str:
    """The `detail` of a FastAPI server: a text, or a list of validation errors."""
    found = detail if isinstance(detail, list) else [detail]
    return "; ".join(quoted(one.get("msg", one) if isinstance(one, dict) else one, 500) for one in found[:20] if one)


def is_refusal(answer: dict[str, Any]) -> bool:
    """Whether an answer with status 200, of either API, is an error all the same."""
    if answer.get("data") or answer.get("output"):
        return False
    return bool(answer.get("error") or (answer.get("code") and answer.get("message")))


def error_for(
    refusal: Refusal, *, target: str, retry_after_s: float | None = None, rules: Sequence[Rule] = DASHSCOPE_RULES
) -> MillraceError:
    """The error to raise for `refusal`. `target` names who was asked ("text-embedding-v4 at https://...").

    `retry_after_s` is the wait that the provider wishes; of a longer one than MAX_RETRY_AFTER_S the message says so.
    """
    code, message = refusal.code.lower(), refusal.message.lower()
    rule = next((rule for rule in rules if rule.matches(refusal.status, code, message)), None)
    message = f"{target} answered {refusal.words}"
    if rule is None:
        return BilledInvalidResponse(f"{message}, which is an answer millrace does not know", billed_tokens=0)
    with_remedy = f"{message}; {rule.remedy}"
    if retry_after_s is not None and retry_after_s > MAX_RETRY_AFTER_S:
        with_remedy += f" (it asks to wait {retry_after_s:,.0f} s; millrace waits {MAX_RETRY_AFTER_S:,.0f} s at most)"
        retry_after_s = MAX_RETRY_AFTER_S
    match rule.action:
        case "stop":
            return ProviderStopped(with_remedy, code=refusal.code, request_id=refusal.request_id)
        case "configure":
            return ConfigurationError(with_remedy)
        case "slow":
            return Throttled(with_remedy, limit=_limit(rule.detail), retry_after_s=retry_after_s)
        case "wait":
            return ProviderUnavailable(with_remedy, retry_after_s=retry_after_s)
        case "refuse":
            return TextsRefused(message, reason=rule.detail, remedy=rule.remedy)


def lost_answer(target: str, why: str) -> LostAnswer:
    """The error for an answer that did not arrive complete."""
    return LostAnswer(f"{target}: the answer was lost ({why}); {_WAIT}")


def quoted(words: object, limit: int = 300) -> str:
    r"""What a provider said, fit for a message: secrets masked, on one line, printable, at most `limit` characters.

    Masked before it is cut, so that no half of a secret is left.

    >>> quoted("Incorrect API key provided:\nsk-3f0c8a1e5b7d")
    'Incorrect API key provided: sk-***'
    """
    text = mask(words if isinstance(words, str) else _REPR.repr(words))
    text = "".join(character if character.isprintable() else " " for character in text[: 4 * limit])
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _limit(detail: str) -> ThrottledLimit:
    match detail:
        case "requests" | "tokens" | "growth":
            return detail
        case _:
            return "unknown"


SERVER_RULES: tuple[Rule, ...] = (
    Rule(
        "stop",
        "pay the bill or raise the limit of the account and run again; finished vectors are kept",
        # Unlike at DashScope, `insufficient_quota` means that the account is out of credit.
        codes=frozenset(["insufficient_quota", "billing_not_active", "billing_hard_limit_reached"]),
    ),
    Rule("slow", _SLOW, "tokens", phrases=("tokens per min", "tokens per day")),
    Rule("slow", _SLOW, "requests", phrases=("requests per min", "requests per day")),
    Rule(
        "stop",
        "check embedding.model: the server has no model of this name",
        # vLLM and OpenAI; Ollama; Xinference.
        phrases=("` does not exist", "not found, try pulling", "model not found"),
    ),
    Rule(
        "stop",
        "the server makes no embeddings with this model; start it as an embedding server, or check embedding.model",
        # vLLM; llama.cpp; Ollama.
        phrases=("does not support embeddings",),
    ),
    Rule(
        "configure",
        "lower limits.texts_per_request",
        # TEI (also as 413 and 422); OpenAI; Infinity and others that check with pydantic.
        phrases=("maximum allowed batch size", "array too long", "list should have at most"),
    ),
    Rule(
        "configure",
        'set embedding.ask_dimensions = "never" and embedding.dimensions to the length that the model itself has; vLLM '
        "shortens vectors only when it is started with --hf-overrides '{\"is_matryoshka\": true}'",
        phrases=("matryoshka", "not support specifying dimensions", "dimensions is currently not supported"),
    ),
    Rule(
        "refuse",
        "lower limits.tokens_per_request",
        "request_too_large",
        codes=frozenset(["max_tokens_per_request"]),
        phrases=("tokens per request",),
    ),
    Rule(
        "refuse",
        "make chunking.max_tokens smaller, or name the model's own tokenizer in embedding.tokenizer",
        "text_too_long",
        codes=frozenset(["context_length_exceeded"]),
        phrases=(
            *("maximum context length", "maximum input length", "max context", "maximum model length"),  # OpenAI, vLLM
            "`inputs` must have less than",  # TEI, as 413 or 422
            *("exceeds the context length", "exceeds maximum context length"),  # Ollama
            # llama.cpp, as 500: waiting would not help.
            *("too large to process", "exceeds the available context size", "context size has been exceeded"),
        ),
    ),
    Rule(
        "refuse",
        "the chunk is left out; look at it in its document",
        "text_empty",
        phrases=("`inputs` cannot be empty", "input cannot be an empty string"),
    ),
    # TEI's name for a failure of its backend.
    Rule("wait", "millrace waits and tries again", statuses=frozenset([424])),
    *COMMON_RULES,
)
