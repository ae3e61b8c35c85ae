"""How thoroughly an index is searched: rules that hold for any number of rows asked for, unless the shape says more."""

from collections.abc import Mapping

from tasks.milvus.shape import CollectionShape

LITE_INDEXES = frozenset(["HNSW", "IVF_FLAT", "FLAT", "AUTOINDEX"])


def search_tuning(shape: CollectionShape, rows: int) -> Mapping[str, int]:
    """The parameters of a search for the best `rows`; none where the index has none.

    What the shape sets is raised where Milvus would refuse it: a graph has to look at no fewer rows than are asked for.

    >>> search_tuning(CollectionShape(), 20), search_tuning(CollectionShape(search_params=(("ef", 10),)), 20)
    ({'ef': 64}, {'ef': 20})
    """
    given = {name: int(value) for name, value in shape.search_params}
    if shape.index == "HNSW":
        return {"ef": max(given["ef"], rows) if "ef" in given else max(64, 2 * rows)}
    if shape.index == "DISKANN":
        name = "search_list"
        return {name: max(given[name], rows) if name in given else max(100, 2 * rows)}
    if shape.index == "IVF_FLAT":
        nlist = int(dict(shape.index_params).get("nlist", 128))
        return {"nprobe": min(given.get("nprobe", max(8, nlist // 16)), nlist)}
    return {}
