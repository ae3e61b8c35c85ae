"""What refusals of a rerank request mean: as in `providers.error_rules`, with remedies for a search, not for chunks."""

from dataclasses import replace

from millrace.tasks.embedding.providers.error_rules import DASHSCOPE_RULES, SERVER_RULES, STATUS_RULES, Rule

KEY_SETTING = "rerank.api_key_env (empty: embedding.api_key_env)"

_BY_PROVIDER = {"dashscope": DASHSCOPE_RULES, "iflytek": STATUS_RULES, "openai": SERVER_RULES}
_REMEDY = 'search without reranking (rerank.provider = "none"), or change the query'

# Before the provider's own rules: refusals of every kind of server for which a search has another remedy.
_FIRST = (
    Rule(
        "stop",
        f"check the key in the variable that {KEY_SETTING} names; keys belong to one region (rerank.base_url)",
        codes=frozenset(["invalid_api_key", "invalidapikey"]),
        statuses=frozenset([401]),
    ),
    Rule(
        "stop",
        "check rerank.model and rerank.api; this address does not rerank with this model",
        codes=frozenset(["modelnotfound", "model_not_found", "model_not_supported"]),
        phrases=(
            *("unsupported model", "model not exist"),  # DashScope
            *("` does not exist", "invalid model", "model not found"),  # vLLM, Infinity, Xinference
        ),
    ),
    Rule(
        "stop",
        "check rerank.base_url: /rerank should exist below it (for TEI below the root of the host, not below /v1)",
        statuses=frozenset([404, 405, 301, 302, 307, 308]),
    ),
    Rule(
        "refuse",
        "cut smaller chunks (chunking.max_tokens), or use a model that takes longer texts",
        "text_too_long",
        phrases=(
            "range of input length should be",  # DashScope
            *("maximum context length", "maximum model length", "maximum input length"),  # vLLM
            "must have less than",  # TEI, as 413 or 422
            *(
                "too large to process",
                "exceeds the available context size",
            ),  # llama.cpp, as 500: waiting is no help
        ),
    ),
    Rule(
        "refuse",
        "set search.top_k lower",
        "request_too_large",
        codes=frozenset(["badrequest.toolarge"]),
        phrases=("batch size", "array too long", "list should have at most"),  # TEI and DashScope; Infinity
        statuses=frozenset([413]),
    ),
    Rule("wait", "the server could not compute it now", statuses=frozenset([424])),  # TEI, when its model fails
)


def rerank_rules(provider: str) -> tuple[Rule, ...]:
    """The rules for refusals of rerank requests at the provider."""
    own = _BY_PROVIDER[provider]
    return (*_FIRST, *(replace(rule, remedy=_REMEDY) if rule.action == "refuse" else rule for rule in own))
