"""One settings tree, read once, in each __main__: SIGHTLINE_<SECTION>__<NAME>.

    Settings
      kafka      registry   connect    s3         postgres   mlflow      where the neighbours are
      stream     serving    api        cameras    retention  watchdog   log     how our own services behave
      reviews    promotion                                               how frames are reviewed; which pass promotes
      jobs                                                               where Airflow runs jobs (job_settings.py)
      auth       login                                                   who may do what; who we are when we ask
      stack                                                              the local stack: home, ports

    SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:19092   one value
    <home>/settings.env                                  what `sightline up` wrote; the environment wins

An unknown name is an error: a typo must not fall back to a default in silence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from contracts.errors import Misconfigured
from contracts.job_settings import JobSettings

PREFIX: Final = "SIGHTLINE_"
SETTINGS_FILE: Final = "settings.env"
HOME_NAME: Final = ".sightline"

Port = Annotated[int, Field(ge=1, le=65535)]
CameraName = Annotated[str, Field(pattern=r"\A[a-z0-9][a-z0-9._-]{0,62}\z")]  # as in contracts/identifiers.py
ServingEngine = Literal[
    "openvino", "openvino-int8", "onnxruntime", "onnxruntime-cuda", "onnxruntime-cuda-or-cpu", "fake"
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """The broker."""

    bootstrap_servers: str = "127.0.0.1:19092"
    # The oldest frames go when a partition (there are six) is larger than this; None: only the time limit holds.
    frames_partition_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] | None = None


class RegistrySettings(_Section):
    """The schema registry (Apicurio)."""

    url: str = "http://127.0.0.1:19080"  # without a path

    @property
    def confluent_url(self) -> str:
        """The base of its Confluent-compatible API, which the clients speak."""
        return f"{self.url}/apis/ccompat/v7"


class ConnectSettings(_Section):
    """Kafka Connect's REST API."""

    url: str = "http://127.0.0.1:19083"
    timeout_seconds: float = 10.0


class S3Settings(_Section):
    """The object store."""

    endpoint_url: str = "http://127.0.0.1:19070"
    region: str = "us-east-1"
    access_key: str = "sightline"
    secret_key: SecretStr = SecretStr("")
    frames_bucket: str = "frames"
    mlflow_bucket: str = "mlflow"


class PostgresSettings(_Section):
    """The database of the pipeline."""

    host: str = "127.0.0.1"
    port: Port = 19054
    database: str = "sightline"
    user: str = "sightline"
    password: SecretStr = SecretStr("")

    @property
    def conninfo(self) -> str:
        """For psycopg (libpq's keyword form, every value quoted). Holds the password: never log it."""
        values = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password.get_secret_value(),
            "application_name": "sightline",
            "connect_timeout": 5,
        }
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in values.items())

    @property
    def jdbc_url(self) -> str:
        """For Connect, without the login."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class MlflowSettings(_Section):
    """The model registry."""

    tracking_uri: str = "http://127.0.0.1:19050"
    model_name: str = "pcb-defects"  # one registered model per installation
    alias: str = "champion"
    largest_version_mib: Annotated[int, Field(ge=1)] = 2048  # more files of one version are not fetched
    # Behind a login (profile full): the name of the account and its secret; empty where MLflow asks for none.
    username: str = ""
    password: SecretStr = SecretStr("")


class StreamSettings(_Section):
    """The stream worker."""

    role: Literal["champion", "challenger"] = "champion"  # challenger: in the shadow, in a consumer group of its own
    group: str = "stream-champion"
    challenger_group: str = "stream-challenger"
    engine: ServingEngine = "openvino"
    model_folder: Path | None = (
        None  # serve this folder's model rather than the registry's champion (tests, benchmarks)
    )
    batch_size: Annotated[int, Field(ge=0, le=256)] = 8  # 0 = measured for each model when it is loaded
    batch_age_ms: Annotated[int, Field(ge=0, le=10_000)] = 50  # the longest a frame waits for a batch of a given size
    decode_threads: Annotated[int, Field(ge=1, le=64)] = 2
    engine_threads: Annotated[int, Field(ge=0)] = 0  # 0 = the engine's own choice
    queued_megabytes: Annotated[int, Field(ge=1)] = 64  # frames fetched ahead of inference
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000  # an image with more is not decoded (status too_large)
    metrics_port: Port | None = None
    cache_folder: Path = Path(HOME_NAME) / "models"  # the last champion, for a start without MLflow


class ServingSettings(_Section):
    """How every process that serves a model follows the champion: stream workers, shadows, the API."""

    poll_seconds: Annotated[float, Field(gt=0, le=2)] = 1.0  # between two looks at the ledger
    heartbeat_seconds: Annotated[float, Field(gt=0, le=2)] = 2.0
    replica_seconds: Annotated[float, Field(gt=2)] = 10.0  # a process whose heartbeat is younger is a replica
    follows_ledger: bool = False  # profile full: the ledger decides who is champion; core: the alias alone


class ApiSettings(_Section):
    """The REST API: how it serves, and where others reach it."""

    url: str = "http://127.0.0.1:19060"  # for clients, without a path
    host: str = "127.0.0.1"
    port: Port = 19060
    processes: Annotated[int, Field(ge=0, le=64)] = 0  # 0 = one per core that it may use
    engine: ServingEngine = "openvino"
    model_folder: Path | None = None  # serve this folder's model (benchmarks)
    queued_requests: Annotated[int, Field(ge=1)] = 8  # waiting or running inferences per process; more: 503
    max_body_bytes: Annotated[int, Field(ge=1)] = 16 * 1024 * 1024
    max_pixels: Annotated[int, Field(ge=1)] = 50_000_000
    read_seconds: Annotated[float, Field(gt=0)] = 10.0  # the longest a client may take to send a request: then 408
    request_seconds: Annotated[float, Field(gt=0)] = 10.0  # the longest a request may wait for its answer: then 503
    drain_seconds: Annotated[float, Field(gt=0)] = 8.0  # after SIGTERM
    cameras_per_account: Annotated[int, Field(ge=1)] = (
        128  # sessions of one account at a time, per process (256 of all)
    )
    ticket_seconds: Annotated[int, Field(ge=1)] = 60
    ticket_key: SecretStr = SecretStr("")  # signs image tickets; empty: one per process start


class PromotionSettings(_Section):
    """Which word of the gate lets a version become champion."""

    gate_file: Path | None = None  # the thresholds in force; None: the committed gates/<model>.toml
    # What it must have been judged on: the reviewed frames of gate blocks, or any set, simulated or named.
    gate_sets: Literal["reviewed", "any"] = "reviewed"


class ReviewSettings(_Section):
    """How frames are reviewed."""

    labels: tuple[str, ...] = ()  # that a person may give beside the champion's classes
    claim_seconds: Annotated[int, Field(ge=1)] = 600  # how long a frame is kept for who claimed it
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.25  # the confidence near which a box is in doubt
    candidates: Annotated[int, Field(ge=1, le=10_000)] = 500  # of the newest frames, so many are ordered by usefulness


class AuthSettings(_Section):
    """Whose tokens the API believes. Issuer and key URL are set apart: inside a cluster they differ."""

    issuer: str = "http://127.0.0.1:19085/realms/sightline"  # compared with the token's, letter by letter
    jwks_url: str = "http://127.0.0.1:19085/realms/sightline/protocol/openid-connect/certs"
    audience: str = "sightline-api"
    clients: tuple[str, ...] = ("sightline-*",)  # whose tokens count (azp); * stands for anything
    leeway_seconds: Annotated[int, Field(ge=0, le=60)] = 30
    keys_seconds: Annotated[int, Field(ge=1)] = 300  # then they are fetched anew
    keys_grace_seconds: Annotated[int, Field(ge=0)] = 300  # and count for so long beyond it while Keycloak is away
    cooldown_seconds: Annotated[int, Field(ge=1)] = 30  # the least time between two fetches for an unknown key
    # As which cameras an account sends whose token lacks the claim `cameras`: any, or none.
    cameras_without_claim: Literal["all", "none"] = "all"
    browser_client: str = "sightline-docs"  # the public client of the API's own pages (PKCE)


class LoginSettings(_Section):
    """Who a command or job is when it asks the API or MLflow: a service account; empty: the person who logged in."""

    client_id: str = "sightline-cli"  # public client of `sightline login`
    service_id: str = ""
    service_secret: SecretStr = SecretStr("")
    token_file: Path = Path("~/.config/sightline/tokens.json")


class CameraSettings(_Section):
    """`sightline send`."""

    heartbeat_seconds: Annotated[float, Field(gt=0)] = 1.0
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 92  # of frames that have no file of their own (video, device)
    queued_megabytes: Annotated[int, Field(ge=8)] = 128  # frames waiting for the broker
    reconnect_seconds: Annotated[float, Field(gt=0)] = 2.0


class RetentionSettings(_Section):
    """How long frames are kept, and how far ahead their partitions exist."""

    days: Annotated[int, Field(ge=1, le=3650)] = 90
    # Days of single cameras, never more than `days`: SIGHTLINE_RETENTION__CAMERAS='{"line-1": 7}'
    cameras: dict[CameraName, Annotated[int, Field(ge=1)]] = {}
    partitions_ahead_days: Annotated[int, Field(ge=1)] = 14

    @property
    def period(self) -> timedelta:
        """How long frames are kept."""
        return timedelta(days=self.days)

    @model_validator(mode="after")
    def _no_camera_is_kept_longer(self) -> Self:
        longer = sorted(name for name, days in self.cameras.items() if days > self.days)
        if longer:
            raise ValueError(f"{', '.join(longer)}: more than the {self.days} days of all; give less, or raise DAYS")
        return self


class WatchdogSettings(_Section):
    """The connector watchdog."""

    poll_seconds: Annotated[float, Field(gt=0)] = 2.0
    same_failures: Annotated[int, Field(ge=1)] = 5  # with the store there: then it stops, with the reason
    partitions_every_seconds: Annotated[float, Field(gt=0)] = 60.0
    metrics_port: Port | None = None


class LogSettings(_Section):
    """How events are written."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "console"] = "json"


class StackSettings(_Section):
    """The local stack: where its data lies and on which ports it listens."""

    home: Path = Path(HOME_NAME)
    profile: Literal["core", "full"] = "core"  # full: with Keycloak, the API, the shadow, MLflow behind a login
    port_base: Annotated[int, Field(ge=1024, le=65000)] = 19000  # every port is this plus its offset (stack/ports.py)
    ports: dict[str, Port] = {}  # overrides by service: SIGHTLINE_STACK__PORTS='{"kafka": 29092}'
    first_model: Path | None = None  # a delivered model's folder: who is champion first; None: the demo model
    stream_workers: Annotated[int, Field(ge=1, le=6)] = 1  # processes of the stream worker; frames has six partitions
    airflow: bool = True  # in profile full: whether Airflow runs with it
    dags: Path | None = None  # Airflow's DAGs; None: those of this clone
    cache: Path = Path("~/.cache/sightline")  # binaries, shared by all clones


class Settings(BaseSettings):
    """The whole tree. Frozen: what a process read at its start is what it runs with."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_nested_max_split=1,
        env_ignore_empty=False,
        frozen=True,
        extra="forbid",
    )

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    connect: ConnectSettings = ConnectSettings()
    s3: S3Settings = S3Settings()
    postgres: PostgresSettings = PostgresSettings()
    mlflow: MlflowSettings = MlflowSettings()
    stream: StreamSettings = StreamSettings()
    serving: ServingSettings = ServingSettings()
    api: ApiSettings = ApiSettings()
    promotion: PromotionSettings = PromotionSettings()
    reviews: ReviewSettings = ReviewSettings()
    auth: AuthSettings = AuthSettings()
    login: LoginSettings = LoginSettings()
    cameras: CameraSettings = CameraSettings()
    retention: RetentionSettings = RetentionSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    log: LogSettings = LogSettings()
    jobs: JobSettings = JobSettings()
    stack: StackSettings = StackSettings()

    @property
    def trainings(self) -> Path:
        """Where trainings on this machine leave what their tasks share, a folder for each run."""
        return (self.jobs.workspace or self.stack.home / "training").absolute()

    @classmethod
    def load(cls, *, home: Path | None = None) -> Self:
        """Reads the environment, and below it the settings file of the local stack where there is one.

        Args:
            home: the local stack's folder, for who manages several; else it is found (find_home).

        Raises:
            Misconfigured: a name is unknown or a value does not fit (every one of them is listed), or the file cannot be
                read.
        """
        _refuse_unknown_sections(os.environ, known=frozenset(cls.model_fields))
        home = home or find_home(os.environ)
        file = home / SETTINGS_FILE
        try:
            settings = cls(_env_file=file if file.is_file() else None)
        except ValidationError as error:
            raise Misconfigured(_explain(error)) from error
        except SettingsError as error:  # names the section, not the value
            raise Misconfigured(
                f"settings do not fit: {error}. Write {PREFIX}<SECTION>__<NAME>=value; a table or a list is JSON"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise Misconfigured(
                f"{file} cannot be read: {reason}. Mend it: it holds the addresses and passwords of the stack"
            ) from error
        return settings.model_copy(update={"stack": settings.stack.model_copy(update={"home": home})})


def find_home(environment: Mapping[str, str]) -> Path:
    """The local stack's folder: as set, else the nearest one in this folder or above it, else this folder's."""
    given = environment.get(f"{PREFIX}STACK__HOME")
    if given:
        return Path(given).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / HOME_NAME).is_dir():
            return folder / HOME_NAME
    return here / HOME_NAME


def _refuse_unknown_sections(environment: Mapping[str, str], *, known: frozenset[str]) -> None:
    """pydantic-settings forbids strangers inside a section, but lets a misspelt section pass."""
    strangers = sorted(
        name
        for name in environment
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).split("__")[0].lower() not in known
    )
    if strangers:
        raise Misconfigured(
            f"unknown settings: {', '.join(strangers)}. The sections are {', '.join(sorted(known))}: "
            f"write {PREFIX}<SECTION>__<NAME>, or unset them"
        )


def _explain(error: ValidationError) -> str:
    """The names and what is wrong with them, without the values: one may be a secret."""
    lines = [
        f"{PREFIX}{'__'.join(str(part).upper() for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors(include_input=False, include_url=False)
    ]
    return "settings do not fit: " + "; ".join(lines)
