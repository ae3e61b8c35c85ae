"""A real Milvus server for tests: the standalone one that the wheel `milvus` carries (the extra `server-tests`)."""

import importlib.util
import lzma
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[3]
_READY_WITHIN_S = 120.0
_PROXY_PORT, _HEALTH_PORT = 19530, 9091
# Making, loading and releasing a collection take seconds as shipped, of which the server sleeps the most.
_SHORT_WAITS = {
    "timeTickInterval: 200": "timeTickInterval: 50",  # how long a read with strong consistency waits
    # How often a load or a release is looked at.
    "checkInterval: 1000": "checkSegmentInterval: 100\n  checkChannelInterval: 100\n  leaderViewUpdateInterval: 1",
    "distPullInterval: 500": "distPullInterval: 50",
    "checkHandoffInterval: 5000": "checkHandoffInterval: 500",
}
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)(?:\(\w+\))?\s*(?::\s*(.*?))?\s*\}\}")


class NoServer(Exception):
    """There is no server to be had here; the message says why and what to do."""


class MilvusServer:
    """One server, its data below `folder`, reached on loopback alone. A context manager: when it ends, all is gone.

    It can be killed and started again with the same data at the same address.
    """

    def __init__(self, folder: Path, *, as_shipped: bool = False) -> None:
        """Start it, and return when it is ready. `as_shipped` leaves the wheel's own waits as they are.

        Raises:
            NoServer: The wheel is not installed, does not run here, or no network namespace can be made.
        """
        self._program = _unpacked()
        self._folder = folder
        self._write_configuration(_SHORT_WAITS if not as_shipped else {})
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()
        self.wait_until_ready()

    @property
    def uri(self) -> str:
        """Where it is reached, also after it was killed and started again."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def folder(self) -> Path:
        """Its data, and what a bulk import may read."""
        return self._folder

    def start(self) -> None:
        """Start it, and return when its address answers; it is not ready yet."""
        environment = os.environ | {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(_HEALTH_PORT),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "MILVUSCONF": str(self._folder / "configs"),
            "LD_LIBRARY_PATH": str(self._program.parent),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "tests.system.servers.enclosed", "--port", str(self._port)]
        command += ["--inner-port", str(_PROXY_PORT), "--health", f"http://127.0.0.1:{_HEALTH_PORT}/healthz"]
        with (self._folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--", str(self._program), "run", "standalone"],
                cwd=self._folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                bufsize=0,  # `select` sees no line that lies in a buffer
            )  # fmt: skip
        self._port = int(self._said("port").split()[1])

    def wait_until_ready(self) -> None:
        """Return when it says that it is ready."""
        self._said("ready")

    def kill(self) -> None:
        """End it as a power cut would: nothing is flushed, nobody is told."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def close(self) -> None:
        """End it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_configuration(self, changes: dict[str, str]) -> None:
        configs, data = self._folder / "configs", self._folder / "data"
        for folder in (configs, data, self._folder / "logs", self._folder / "run"):
            folder.mkdir(parents=True, exist_ok=True)
        values = {
            "etcd_data_dir": str(data / "etcd"),
            "etcd_log_path": str(self._folder / "logs" / "etcd.log"),
            "local_storage_dir": str(data),
            "rocksmq_data_dir": str(data / "rocksmq"),
            "system_log_path": str(self._folder / "logs"),
        }
        template = (_package() / "data" / "config.yaml.template").read_text(encoding="utf-8")
        filled = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[2] or ""), template)
        changed = _changed(filled, {"level: info": "level: warn"} | changes)
        (configs / "milvus.yaml").write_text(changed, encoding="utf-8")
        shutil.copy(_package() / "data" / "glog.conf", configs)

    def _said(self, word: str) -> str:
        """The next line of its output, which must begin with `word`."""
        assert self._process is not None
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _READY_WITHIN_S)
        line = self._process.stdout.readline().decode() if readable else ""
        if not line.startswith(word):
            self.kill()
            log = (self._folder / "server.log").read_text(errors="replace")[-2000:]
            raise NoServer(
                f"the Milvus server did not say {word!r} within {_READY_WITHIN_S:.0f} s; its log ends: {log}"
            )
        return line


def _changed(configuration: str, changes: dict[str, str]) -> str:
    for line, instead in changes.items():
        if line not in configuration:
            raise NoServer(f"the server's configuration has no line {line!r} any more")
        configuration = configuration.replace(line, instead)
    return configuration


def _package() -> Path:
    found = importlib.util.find_spec("milvus")
    if found is None or not found.submodule_search_locations:
        raise NoServer(
            "the wheel `milvus` is not installed (there is one for Linux on x86-64 only): "
            "pip install --constraint constraints.txt --editable '.[dev,server-tests]'"
        )
    return Path(found.submodule_search_locations[0])


def _unpacked() -> Path:
    """The server's program, unpacked once for each environment."""
    package = _package()
    wanted = Path(sys.prefix) / "var" / f"milvus-server-{version('milvus')}"
    if not wanted.is_dir():
        making = wanted.with_name(f"{wanted.name}.{os.getpid()}")
        making.mkdir(parents=True)
        with ThreadPoolExecutor(max_workers=2) as threads:
            for _ in threads.map(lambda packed: _unpack(packed, making), (package / "data" / "bin").glob("*.lzma")):
                pass
        try:
            making.rename(wanted)
        except OSError:  # another session was quicker
            shutil.rmtree(making)
    return wanted / "milvus"


def _unpack(packed: Path, folder: Path) -> None:
    path = folder / packed.name.removesuffix(".lzma")
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    path.chmod(0o755)
