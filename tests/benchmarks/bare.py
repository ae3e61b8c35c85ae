"""`python -m tests.benchmarks.bare CORPUS FOLDER URL`: the bare loop; prints how many chunks it made.

It reads, encodes, asks, writes Parquet and upserts, one after the other, keeps no books, and has nothing of millrace's.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openai import OpenAI
from pymilvus import DataType, MilvusClient

from tests.simulator.model.tokens import qwen_encoding

_KEY = "sk-simulator"


def run(corpus: Path, folder: Path, base_url: str) -> int:
    """Bring the files of `corpus` into a collection in `folder`; the number of chunks."""
    encoding = qwen_encoding()
    chunks: list[str] = []
    for path in sorted(corpus.iterdir()):
        tokens = encoding.encode_ordinary(path.read_text(encoding="utf-8"))
        chunks += [encoding.decode(tokens[i : i + 512]) for i in range(0, len(tokens), 512)]
    provider = OpenAI(base_url=base_url, api_key=_KEY, max_retries=0)
    vectors: list[list[float]] = []
    for start in range(0, len(chunks), 10):
        answer = provider.embeddings.create(
            model="text-embedding-v4", input=chunks[start : start + 10], dimensions=1024, encoding_format="float"
        )
        vectors += [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
    pq.write_table(pa.table({"content": chunks, "vector": vectors}), folder / "bare.parquet")
    client = MilvusClient(str(folder / "bare.db"))
    schema = client.create_schema()
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("content", DataType.VARCHAR, max_length=8192)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=1024)
    index = client.prepare_index_params()
    parameters = {"M": 16, "efConstruction": 256}
    index.add_index("embedding", index_type="HNSW", metric_type="COSINE", params=parameters)
    client.create_collection("bare", schema=schema, index_params=index)
    rows = [
        {"id": f"{number:064d}", "content": content, "embedding": vector}
        for number, (content, vector) in enumerate(zip(chunks, vectors, strict=True))
    ]
    for start in range(0, len(rows), 500):
        client.upsert("bare", rows[start : start + 500])
    return len(chunks)


if __name__ == "__main__":
    print(run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
