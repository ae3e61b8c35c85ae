"""An outage is told when it begins and when it is over: in the log, the timeline, the metrics and the summary."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from millrace.tasks.lake import Lake
from millrace.tasks.milvus.client import lite
from tests.flows.prose import english
from tests.flows.site import Site


@contextmanager
def relay(port: int, target: int) -> Iterator[None]:
    """Let who connects to `port` talk to `target` until the block ends."""
    ends: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", target))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for end in ends:
                end.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_milvus_that_is_away_when_a_run_begins_is_waited_for_and_told(site: Site) -> None:
    port, told = free_port(), threading.Event()
    site.write("a.txt", english(3))
    away: list[logging.LogRecord] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "fields", {}).get("event") in {"away", "back"}:
                away.append(record)
                told.set()

    log = logging.getLogger("millrace.flows.monitoring.run_state")
    listener = Listener()
    log.addHandler(listener)
    path = lite.acquire(str(site.folder / "milvus.db"))
    target = int(path.uri.rpartition(":")[2].strip("/"))
    over = threading.Event()

    def come_back() -> None:
        assert told.wait(30)
        with relay(port, target):
            over.wait(60)

    server = threading.Thread(target=come_back, daemon=True)
    server.start()
    try:
        summary = site.ingest(
            f"milvus.uri=http://127.0.0.1:{port}", "milvus.wait_s=60", f"metrics.textfile_dir={site.folder}"
        )
    finally:
        over.set()
        server.join()
        path.release()
        log.removeHandler(listener)
    assert summary.exit_code == 0, summary.error
    assert [getattr(one, "fields", {})["event"] for one in away] == ["away", "back"]
    assert all(one.levelno == logging.WARNING for one in away)
    assert "waited for, up to 60 s" in away[0].getMessage()
    assert any(note.startswith("Milvus was away for") for note in summary.notes)
    timeline = Lake.open(site.lake, "documents", read_only=True).timelines.of(summary.run)
    assert timeline is not None
    assert [dict(one)["service"] for one in timeline.facts["outages"]] == ["milvus"]  # type: ignore[union-attr, arg-type]
    metrics = Path(site.folder, "millrace-documents.prom").read_text()
    assert 'millrace_outages_total{collection="documents",service="milvus"} 1.0' in metrics


def test_a_milvus_that_stays_away_is_given_up_after_the_time_set(site: Site) -> None:
    site.write("a.txt", english(3))
    summary = site.ingest(f"milvus.uri=http://127.0.0.1:{free_port()}", "milvus.wait_s=0.5")
    assert summary.exit_code == 1
    assert "cannot be reached" in summary.error
    assert "times in" in summary.error
