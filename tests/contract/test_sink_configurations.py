"""The sinks' configurations against what they must agree with: topics, schemas, tables, the Java plugin, each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from connectors.connect_admin import Config
from connectors.reconcile import desired, templates
from connectors.watchdog.stores import probes, stores_of
from contracts.schemas import latest
from contracts.settings import RetentionSettings, Settings
from contracts.topics import ALL_TOPICS, CONTRACT_TOPICS, MAX_IMAGE_BYTES, MAX_RECORD_BYTES, SINKS, dead_letters_topic

ROOT = Path(__file__).parents[2]
JAVA = ROOT / "connectors/plugins-java/src/main/java/sightline/connect"
MIGRATION = ROOT / "inference/persistence/migrations/versions/0001_tables.py"
JDBC = "io.debezium.connector.jdbc.JdbcSinkConnector"
COORDINATES = {"kafka_partition", "kafka_offset"}


@pytest.fixture(params=SINKS)
def sink(request: pytest.FixtureRequest) -> tuple[str, Config]:
    return request.param, desired(Settings())[request.param]


def columns_of(table: str) -> list[str]:
    body = re.search(rf"CREATE TABLE {table} \(\n(.*?)\n\)", MIGRATION.read_text("utf-8"), re.DOTALL)
    assert body, table
    return re.findall(r"^    ([a-z]\w*) ", body[1], re.MULTILINE)


def primary_key_of(table: str) -> str:
    found = re.search(rf"CREATE TABLE {table} \(.*?PRIMARY KEY \(([^)]*)\)", MIGRATION.read_text("utf-8"), re.DOTALL)
    assert found, table
    return found[1].replace(" ", "")


def test_there_is_one_file_per_sink_and_no_other() -> None:
    assert {file.stem for file in (ROOT / "connectors/sinks").iterdir()} == set(SINKS) == set(templates())


def test_a_sink_reads_a_topic_of_ours_by_that_topics_contract(sink: tuple[str, Config]) -> None:
    name, config = sink
    assert config["topics"] in {topic.name for topic in CONTRACT_TOPICS}
    assert name.startswith(f"{config['topics']}_to_")
    assert config["transforms.valid.contract"] == config["topics"]
    assert config["transforms"].split(",")[0] == "valid", "what is invalid goes no further"
    assert config["transforms.valid.type"] == "sightline.connect.ValidRecord"
    assert config["value.converter"] == "sightline.connect.RetryingAvroConverter"


def test_a_sink_has_a_dead_letter_topic_that_the_bootstrap_creates(sink: tuple[str, Config]) -> None:
    name, config = sink
    assert config["errors.deadletterqueue.topic.name"] == dead_letters_topic(name)
    assert dead_letters_topic(name) in {topic.name for topic in ALL_TOPICS}
    assert config["errors.deadletterqueue.context.headers.enable"] == "true"
    assert config["errors.tolerance"] == "all"
    assert config["errors.log.include.messages"] == "false", "frames do not belong into a log"


def test_a_dead_letter_may_be_larger_than_the_largest_record(sink: tuple[str, Config]) -> None:
    assert int(sink[1]["producer.override.max.request.size"]) > MAX_RECORD_BYTES


def test_a_sink_waits_for_the_registry_for_ever_and_begins_at_the_beginning(sink: tuple[str, Config]) -> None:
    assert sink[1]["errors.retry.timeout"] == "-1"
    assert sink[1]["consumer.override.auto.offset.reset"] == "earliest"


def test_both_frame_sinks_refuse_the_same_frames() -> None:
    configs = desired(Settings(retention=RetentionSettings(days=7)))
    assert {configs[name]["transforms.valid.retention.days"] for name in SINKS} == {"7"}


def test_the_largest_frame_fits_the_consumers_fetch() -> None:
    for name in ("frames_to_s3", "frames_to_postgres"):
        config = desired(Settings())[name]
        assert int(config["consumer.override.max.partition.fetch.bytes"]) > MAX_RECORD_BYTES > MAX_IMAGE_BYTES


def test_more_tasks_than_partitions_would_idle(sink: tuple[str, Config]) -> None:
    partitions = {topic.name: topic.partitions for topic in CONTRACT_TOPICS}
    assert 1 <= int(sink[1]["tasks.max"]) <= partitions[sink[1]["topics"]]


@pytest.mark.parametrize("name", [name for name, config in templates().items() if config["connector.class"] == JDBC])
def test_a_table_has_a_column_for_everything_that_its_sink_writes(name: str) -> None:
    config = desired(Settings())[name]
    table = config["collection.name.format"]
    written = {field["name"] for field in latest(config["topics"])["fields"]}
    written -= {config.get("transforms.without_image.exclude")}
    written |= {
        config[key] for key in config if re.fullmatch(r"transforms\.coordinates\.(partition|offset)\.field", key)
    }
    assert written == set(columns_of(table))
    assert config["primary.key.fields"] == primary_key_of(table)
    assert config["insert.mode"] == "upsert"
    assert config["primary.key.mode"] == "record_value"
    assert config["schema.evolution"] == "none", "the migrations own the tables"
    assert int(config["batch.size"]) <= int(config["consumer.override.max.poll.records"])


def test_the_frames_table_knows_where_each_frame_came_from() -> None:
    assert set(columns_of("frames")) >= COORDINATES


def test_the_frame_sinks_settings_are_those_that_the_plugin_defines() -> None:
    defined = set(re.findall(r'= "(s3\.[a-z.]+)"', (JAVA / "FrameS3SinkConfig.java").read_text("utf-8")))
    given = {key for key in templates()["frames_to_s3"] if key.startswith("s3.")}
    assert given
    assert given <= defined


def test_the_transforms_settings_are_those_that_the_plugin_defines() -> None:
    defined = set(re.findall(r'String [A-Z_]+ = "([a-z.]+)"', (JAVA / "ValidRecord.java").read_text("utf-8")))
    for config in templates().values():
        given = {key.removeprefix("transforms.valid.") for key in config if key.startswith("transforms.valid.")}
        assert given - {"type"} == defined


def test_no_file_holds_a_secret_or_an_address(sink: tuple[str, Config]) -> None:
    for key, value in templates()[sink[0]].items():
        if re.search(r"password|secret", key):
            assert re.fullmatch(r"\$\{env:SIGHTLINE_[A-Z0-9_]+\}", value), key
        assert not re.search(r"\d+\.\d+\.\d+\.\d+|localhost|://", value), key


def test_a_secret_is_referred_to_by_the_name_of_its_setting() -> None:
    names = {
        f"SIGHTLINE_{section.upper()}__{field.upper()}"
        for section in Settings.model_fields
        for field in type(getattr(Settings(), section)).model_fields
    }
    referred = {
        reference
        for config in templates().values()
        for value in config.values()
        for reference in re.findall(r"\$\{env:([^}]*)\}", value)
    }
    assert referred == {"SIGHTLINE_POSTGRES__PASSWORD", "SIGHTLINE_S3__SECRET_KEY"}
    assert referred <= names


def test_the_watchdog_knows_the_stores_of_every_sink(sink: tuple[str, Config]) -> None:
    needed = stores_of(sink[1])
    assert needed
    assert set(needed) <= set(probes(Settings()))
