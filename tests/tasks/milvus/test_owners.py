"""The lakes that fill a collection are kept with it, on Milvus Lite and on a server, also when it is opened again."""

from millrace.tasks.milvus import Collection
from tests.tasks.milvus.conftest import OpenCollection


def test_a_new_collection_has_no_mark(collection: Collection) -> None:
    assert collection.owners() == frozenset()


def test_a_mark_stays_with_the_collection_and_can_be_changed(open_collection: OpenCollection) -> None:
    first = open_collection()
    first.mark_owners({"lake-2", "lake-1"})
    assert first.owners() == {"lake-1", "lake-2"}
    first.close()
    again = open_collection(create=False)
    assert again.owners() == {"lake-1", "lake-2"}
    again.mark_owners({"lake-1"})
    assert again.owners() == {"lake-1"}
    again.mark_owners(())
    assert again.owners() == frozenset()
