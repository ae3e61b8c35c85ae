"""What can be asked of a model through an API of its provider, beyond the vectors of texts."""

from tasks.embedding.catalogue import ModelSpec
from tasks.errors import ConfigurationError


def check_offer(
    spec: ModelSpec,
    *,
    api: str = "compatible",
    text_type: str = "",
    instruct: str = "",
    sparse: bool = False,
    section: str = "embedding",
) -> None:
    """Raise ConfigurationError for what the model or this API of it has not.

    `section` is where `text_type` and `instruct` are set.
    """
    native = api == "native"
    if native and spec.provider != "dashscope":
        message = f'embedding.api = "native" is DashScope\'s; provider {spec.provider} has only "compatible"'
        raise ConfigurationError(message)
    if instruct and (why_not := _why_no_instruct(spec, native=native, text_type=text_type, section=section)):
        raise ConfigurationError(f"{section}.instruct is set, but {why_not}")
    if sparse and not (spec.sparse and (native or spec.provider == "local")):
        message = (
            f'milvus.hybrid is "sparse", but {spec.name} of provider {spec.provider} gives no sparse vectors over the '
            f'{api} API; DashScope\'s text-embedding-v4 and v3 do with embedding.api = "native". Or use "bm25"'
        )
        raise ConfigurationError(message)


def _why_no_instruct(spec: ModelSpec, *, native: bool, text_type: str, section: str) -> str:
    if native and text_type != "query":
        return f'documents take no instruction: it needs {section}.text_type = "query"'
    if native and not spec.instruct:
        return f"{spec.name} takes none; text-embedding-v4 does"
    if spec.provider == "dashscope" and not native:
        return 'the compatible API takes none: it needs embedding.api = "native"'
    return "provider local takes none; leave it empty" if spec.provider == "local" else ""
