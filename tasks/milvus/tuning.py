"""How thoroughly an index is searched: rules that hold for any number of rows asked for, unless the shape says more."""

from collections.abc import Mapping

from tasks.milvus.shape import CollectionShape

_LEAST_EF = 512
"""Of 200 sentences asked of 7,071 chunks of Markdown (`millrace eval`; Milvus Lite, M 16, efConstruction 256, provider
`local`), the graph kept the right row from the first 20 for 5 with ef 64, for 1 with 256, for none with 512."""

LITE_INDEXES = frozenset(["HNSW", "IVF_FLAT", "FLAT", "AUTOINDEX"])


def search_tuning(shape: CollectionShape, rows: int) -> Mapping[str, int]:
    """The parameters of a search for the best `rows`; none where the index has none.

    What the shape sets is raised where Milvus would refuse it: a graph has to look at no fewer rows than are asked for.

    >>> search_tuning(CollectionShape(), 20), search_tuning(CollectionShape(search_params=(("ef", 10),)), 20)
    ({'ef': 512}, {'ef': 20})
    """
    given = {name: int(value) for name, value in shape.search_params}
    if shape.index == "HNSW":
        return {"ef": max(given["ef"], rows) if "ef" in given else max(_LEAST_EF, 2 * rows)}
    if shape.index == "DISKANN":
        name = "search_list"
        return {name: max(given[name], rows) if name in given else max(100, 2 * rows)}
    if shape.index == "IVF_FLAT":
        nlist = int(dict(shape.index_params).get("nlist", 128))
        return {"nprobe": min(given.get("nprobe", max(8, nlist // 16)), nlist)}
    return {}
