"""Is a store there? One short question each; the watchdog asks only while a connector is failing.

    postgres  SELECT 1        s3  HEAD of the frames bucket        registry  its system information

A store that answers with a refusal is there: a wrong password is no outage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import httpx
import psycopg

from contracts.settings import S3Settings, Settings

Probe = Callable[[], bool]

PATIENCE_SECONDS: Final = 5.0

_SERVER_ERROR: Final = 500
# Postgres answered, and is away all the same. Its other refusals (login, database) are a person's to mend.
_NOT_YET: Final = re.compile(r"the database system is|too many|remaining connection slots|terminating connection")

_OF_CLASS: Final[Mapping[str, tuple[str, ...]]] = {
    "io.debezium.connector.jdbc.JdbcSinkConnector": ("postgres", "registry"),
    "sightline.connect.FrameS3SinkConnector": ("s3", "registry"),
}


def stores_of(config: Mapping[str, str]) -> tuple[str, ...]:
    """The stores that a connector needs, by the class of its configuration."""
    return _OF_CLASS.get(config.get("connector.class", ""), ())


def probes(settings: Settings) -> Mapping[str, Probe]:
    """A question for each store, True when it answers."""
    return {
        "postgres": lambda: _is_postgres_there(settings),
        "s3": lambda: _is_s3_there(settings.s3),
        "registry": lambda: _is_registry_there(settings),
    }


def _is_postgres_there(settings: Settings) -> bool:
    try:
        # A connection that is cut without a word ends as an error here, too.
        with psycopg.connect(settings.postgres.conninfo, autocommit=True, tcp_user_timeout=5000) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        return "FATAL:" in str(error) and not _NOT_YET.search(str(error))
    except psycopg.Error:
        return True
    return True


def _is_registry_there(settings: Settings) -> bool:
    try:
        answer = httpx.get(f"{settings.registry.url}/apis/registry/v3/system/info", timeout=PATIENCE_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.status_code < _SERVER_ERROR


def _is_s3_there(settings: S3Settings) -> bool:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _s3_client(settings).head_bucket(Bucket=settings.frames_bucket)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] < _SERVER_ERROR)
    except BotoCoreError:
        return False
    return True


@cache
def _s3_client(settings: S3Settings) -> Any:
    import boto3  # 40 MB that a watchdog without failures never needs
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key.get_secret_value(),
        config=Config(
            connect_timeout=PATIENCE_SECONDS,
            read_timeout=PATIENCE_SECONDS,
            retries={"total_max_attempts": 1},
            signature_version="s3v4",
        ),
    )
