"""Settings of a service whose neighbours are all away, and at once: nobody listens at any of the addresses.

For tests of what happens before a neighbour is asked; they must not reach the stack that somebody may run beside them.
"""

from __future__ import annotations

from contracts.settings import (
    ConnectSettings,
    KafkaSettings,
    MlflowSettings,
    PostgresSettings,
    RegistrySettings,
    S3Settings,
    Settings,
)

NOWHERE = Settings(
    kafka=KafkaSettings(bootstrap_servers="127.0.0.1:1"),
    registry=RegistrySettings(url="http://127.0.0.1:1"),
    connect=ConnectSettings(url="http://127.0.0.1:1"),
    s3=S3Settings(endpoint_url="http://127.0.0.1:1"),
    postgres=PostgresSettings(port=1),
    mlflow=MlflowSettings(tracking_uri="http://127.0.0.1:1"),
)
