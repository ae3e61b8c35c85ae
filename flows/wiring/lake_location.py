"""Where the lake of the settings is: a folder of this machine, or objects in a bucket that several machines reach."""

import os
from collections.abc import Mapping
from pathlib import Path

from millrace.configs.settings import Settings
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import LakePath, ObjectPath, ObjectStore
from millrace.tasks.secrets import read_secret


def lake_path(settings: Settings, environment: Mapping[str, str] | None = None) -> LakePath:
    """Where the lake of the settings is: a folder, or objects in a bucket.

    Raises `ConfigurationError` for an address that is neither, or no bucket's.
    """
    lake = settings.lake
    environment = os.environ if environment is None else environment
    scheme, slashes, address = lake.path.partition("://")
    if not slashes:
        return Path(lake.path)
    bucket, _, prefix = address.partition("/")
    if scheme != "s3":
        raise ConfigurationError("lake.path is neither a folder nor s3://bucket/prefix; other storage is not known")
    if not bucket or not prefix.strip("/") or "//" in address or any(sign in address for sign in "@?#\\"):
        raise ConfigurationError(
            "lake.path is not s3://bucket/prefix, with a prefix of the lake's own: endpoint and region are settings"
            " (lake.endpoint, lake.region), and credentials come from the environment"
        )
    for variable in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):  # which pyarrow reads by itself
        read_secret(environment, variable)
    store = ObjectStore(
        endpoint=lake.endpoint or environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", ""),
        region=lake.region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1",
        virtual_hosting=lake.virtual_hosting,
        local=Path(lake.local_dir).absolute() if lake.local_dir else state_folder(environment) / "lakes",
    )
    return ObjectPath(f"{bucket}/{prefix.rstrip('/')}", store)


def state_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Where what must last of this user on this machine is kept."""
    environment = os.environ if environment is None else environment
    states = environment.get("XDG_STATE_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".local/state"
    return Path(states, "millrace")
