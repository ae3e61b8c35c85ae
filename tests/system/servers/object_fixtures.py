"""Fixtures of S3-compatible storage; a conftest imports them by name. Without moto their tests are skipped."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import fs

from millrace.tasks.lake import ObjectPath, ObjectStore

BUCKET = "lakes"
ROOT = Path(__file__).parents[3]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",  # no machine's role is looked for
}


@dataclass(frozen=True)
class Bucket:
    """A place of the test's own in the bucket; `local` is what one machine keeps on its disk."""

    endpoint: str
    prefix: str
    local: Path

    @property
    def lake(self) -> ObjectPath:
        return self.seen_from("one")

    @property
    def uri(self) -> str:
        """As `lake.path` has it."""
        return f"s3://{BUCKET}/{self.prefix}"

    def seen_from(self, machine: str) -> ObjectPath:
        """The lake as another machine sees it, with a disk of its own."""
        store = ObjectStore(
            endpoint=self.endpoint, region="us-east-1", virtual_hosting=False, local=self.local / machine
        )
        return ObjectPath(f"{BUCKET}/{self.prefix}", store)

    def settings(self, machine: str = "one") -> tuple[str, ...]:
        """What `--set` takes."""
        return (
            f"lake.path={self.uri}",
            f"lake.endpoint={self.endpoint}",
            f"lake.local_dir={self.local / machine}",
        )

    def objects(self) -> list[str]:
        """Every object below the prefix, without the empty ones that stand for folders."""
        found = self.lake.store.files.get_file_info(
            fs.FileSelector(self.lake.key, recursive=True, allow_not_found=True)
        )
        return sorted(info.path.removeprefix(f"{self.lake.key}/") for info in found if info.is_file)


@pytest.fixture(scope="session")
def object_storage() -> Iterator[str]:
    """The address of S3-compatible storage in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.system.servers.objects"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        word, _, port = process.stdout.readline().strip().partition(" ")
        assert word == "port"
        try:
            client = fs.S3FileSystem(
                access_key="testing", secret_key="testing", region="us-east-1",
                scheme="http", endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True,
            )  # fmt: skip
            client.create_dir(BUCKET)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


@pytest.fixture
def bucket(
    object_storage: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Bucket:
    """An empty place in the bucket, and credentials in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return Bucket(object_storage, f"{tmp_path.name}", tmp_path / "machines")
