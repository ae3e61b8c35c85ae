"""`python -m tests.benchmarks.frameworks NAME CORPUS FOLDER URL`: the same with a framework; prints its chunks.

To be run by the Python of an environment of its own: the frameworks' versions of what millrace uses are not ours.
Each as its documentation shows it, with the same tokens a chunk, texts a request, and index.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.simulator.model.tokens import qwen_encoding

PACKAGES = {
    "llama-index": ("llama-index-core", "llama-index-embeddings-openai", "llama-index-vector-stores-milvus"),
    "langchain": ("langchain-openai", "langchain-milvus", "langchain-text-splitters"),
}
"""What has to be installed for each."""

_KEY, _MODEL, _DIMENSIONS, _TOKENS, _TEXTS = "sk-simulator", "text-embedding-v4", 1024, 512, 10
_GRAPH = {"M": 16, "efConstruction": 256}
_INDEX = {"index_type": "HNSW", "metric_type": "COSINE", "params": _GRAPH}


def llama_index(corpus: Path, folder: Path, base_url: str) -> int:
    """An ingestion pipeline: reader, sentence splitter, embedding, vector store."""
    from llama_index.core import SimpleDirectoryReader
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.vector_stores.milvus import MilvusVectorStore

    encode = qwen_encoding().encode_ordinary
    embedding = OpenAIEmbedding(
        model_name=_MODEL,
        api_base=base_url,
        api_key=_KEY,
        dimensions=_DIMENSIONS,
        embed_batch_size=_TEXTS,
        max_retries=0,
        additional_kwargs={"encoding_format": "float"},
    )
    store = MilvusVectorStore(
        uri=str(folder / "llama.db"),
        dim=_DIMENSIONS,
        overwrite=True,
        similarity_metric="COSINE",
        index_config={**_INDEX, **_GRAPH},
    )
    splitter = SentenceSplitter(chunk_size=_TOKENS, chunk_overlap=0, tokenizer=encode)
    pipeline = IngestionPipeline(transformations=[splitter, embedding], vector_store=store)
    return len(pipeline.run(documents=SimpleDirectoryReader(str(corpus)).load_data()))


def langchain(corpus: Path, folder: Path, base_url: str) -> int:
    """Documents, a recursive splitter, and a vector store made from them."""
    from langchain_core.documents import Document
    from langchain_milvus import Milvus
    from langchain_openai import OpenAIEmbeddings
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    encode = qwen_encoding().encode_ordinary
    documents = [
        Document(path.read_text(encoding="utf-8"), metadata={"source": str(path)}) for path in sorted(corpus.iterdir())
    ]
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=_TOKENS, chunk_overlap=0, length_function=lambda text: len(encode(text))
    )
    chunks = splitter.split_documents(documents)
    embeddings = OpenAIEmbeddings(
        model=_MODEL,
        base_url=base_url,
        api_key=_KEY,
        dimensions=_DIMENSIONS,
        chunk_size=_TEXTS,
        max_retries=0,
        check_embedding_ctx_length=False,
        model_kwargs={"encoding_format": "float"},
    )
    uri = str(folder / "langchain.db")
    Milvus.from_documents(chunks, embeddings, connection_args={"uri": uri}, index_params=_INDEX, drop_old=True)
    return len(chunks)


RUNS: Mapping[str, Callable[[Path, Path, str], int]] = {"llama-index": llama_index, "langchain": langchain}

if __name__ == "__main__":
    print(RUNS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
