"""What a refusal means when the texts are a question and what was found: the remedies for chunks do not fit there.

Sources: those of `translate` and `server_rules`.
"""

from dataclasses import replace

from millrace.tasks.embedding.providers.error_rules import RULES, SERVER_RULES, STATUS_RULES, Rule

KEY_SETTING = "rerank.api_key_env (empty: embedding.api_key_env)"

_BY_PROVIDER = {"dashscope": RULES, "iflytek": STATUS_RULES, "openai": SERVER_RULES}
_REMEDY = 'search without reranking (rerank.provider = "none"), or for something else'

# Before the provider's own rules: what every kind of server says, and what the user can do about it here.
_FIRST = (
    Rule(
        "stop",
        f"check the key in the variable that {KEY_SETTING} names; keys belong to one region (rerank.base_url)",
        codes=frozenset(["invalid_api_key", "invalidapikey"]),
        statuses=frozenset([401]),
    ),
    Rule(
        "stop",
        "check rerank.model and rerank.api; what is at this address does not rerank with this model",
        codes=frozenset(["modelnotfound", "model_not_found", "model_not_supported"]),
        phrases=(
            *("unsupported model", "model not exist"),  # DashScope
            *("` does not exist", "invalid model", "model not found"),  # vLLM, Infinity, Xinference
        ),
    ),
    Rule(
        "stop",
        "check rerank.base_url: /rerank should exist below it, and TEI has it below its host's own root, not below /v1",
        statuses=frozenset([404, 405, 301, 302, 307, 308]),
    ),
    Rule(
        "refuse",
        "cut smaller chunks (chunking.max_tokens), or use a model that reads more",
        "text_too_long",
        phrases=(
            "range of input length should be",  # DashScope
            *("maximum context length", "maximum model length", "maximum input length"),  # vLLM
            "must have less than",  # TEI, as 413 or 422
            *("too large to process", "exceeds the available context size"),  # llama.cpp, as 500: waiting heals nothing
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
    """What the refusals of the provider's reranking mean, in the words of a search."""
    own = _BY_PROVIDER[provider]
    return (*_FIRST, *(replace(rule, remedy=_REMEDY) if rule.verdict == "refuse" else rule for rule in own))
