"""The schemas in the real registry."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts import schemas
from contracts.compatibility import incompatibilities
from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import RegistrySettings, Settings
from inference.batch.check import registry_problems
from tests.support.nowhere import NOWHERE


@pytest.fixture
def registry(stack: Settings) -> Iterator[SchemaRegistry]:
    with SchemaRegistry(stack.registry) as found:
        yield found


def changed(topic: str, change) -> schemas.Schema:
    schema = copy.deepcopy(schemas.latest(topic))
    change(schema["fields"])
    return schema


def test_registering_twice_gives_the_same_ids(stack: Settings, registry: SchemaRegistry):
    ids = registry.register_all()
    assert set(ids) == {"frames", "predictions", "sessions"}
    assert len({one for found in ids.values() for one in found}) == sum(len(found) for found in ids.values())
    with SchemaRegistry(stack.registry) as other:
        assert other.register_all() == ids
    registry.assert_registered()
    assert registry.id_of("frames") == ids["frames"][-1]


def test_the_check_of_contracts_finds_nothing_to_say_of_a_registry_that_has_all(
    stack: Settings, registry: SchemaRegistry
):
    registry.register_all()
    assert registry_problems(stack) == []


def test_the_check_of_contracts_is_tried_again_while_the_registry_is_away():
    with pytest.raises(Transient):
        registry_problems(NOWHERE)


def test_an_id_gives_back_the_schema_on_disk(registry: SchemaRegistry):
    for topic in ("frames", "predictions", "sessions"):
        assert registry.schema_by_id(registry.id_of(topic)) == schemas.latest(topic)
        assert schemas.latest(topic) in registry.registered_versions(topic).values()


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop(),
        lambda fields: fields.append({"name": "site", "type": "string"}),
        lambda fields: fields[1].update(type="int"),
    ],
    ids=["a field with a default taken away and put nowhere", "a field without default", "another type"],
)
def test_the_registry_refuses_what_the_offline_rule_refuses(registry: SchemaRegistry, change):
    before = registry.registered_versions("sessions")
    schema = changed("sessions", change)
    assert incompatibilities(schemas.latest("sessions"), schema)
    assert not registry.is_compatible("sessions", schema)
    with pytest.raises(Rejected, match="refused") as caught:
        registry.register("sessions", schema)
    assert caught.value.code == "incompatible_schema"
    assert registry.registered_versions("sessions") == before


def test_a_nullable_field_with_default_null_would_be_taken(registry: SchemaRegistry):
    schema = changed(
        "sessions", lambda fields: fields.append({"name": "site", "type": ["null", "string"], "default": None})
    )
    assert incompatibilities(schemas.latest("sessions"), schema) == []
    assert registry.is_compatible("sessions", schema)


def test_an_unknown_id_is_a_bad_record(registry: SchemaRegistry):
    codec = Codec(registry)
    with pytest.raises(Rejected) as caught:
        codec.decode("frames", b"\0\x7f\xff\xff\xffwhatever")
    assert caught.value.code == "unknown_schema"


def test_another_topics_id_is_a_bad_record(registry: SchemaRegistry):
    with pytest.raises(Rejected) as caught:
        Codec(registry).decode("frames", b"\0" + registry.id_of("sessions").to_bytes(4, "big") + b"whatever")
    assert caught.value.code == "not_a_record"


def test_a_registry_that_is_away_is_transient():
    with SchemaRegistry(RegistrySettings(url="http://127.0.0.1:1")) as registry:
        for call in (registry.register_all, registry.assert_registered, lambda: registry.schema_by_id(1)):
            with pytest.raises(Transient, match="away"):
                call()


def test_a_wrong_url_is_a_persons_business(stack: Settings):
    wrong = RegistrySettings(url=f"{stack.registry.url}/no/such/path")
    with SchemaRegistry(wrong) as registry, pytest.raises(Misconfigured):
        registry.assert_compatibility()


def test_a_loosened_compatibility_is_noticed_and_put_back(registry: SchemaRegistry):
    from confluent_kafka.schema_registry import ConfigCompatibilityLevel, ServerConfig

    registry._client.set_config("sessions-value", ServerConfig(compatibility=ConfigCompatibilityLevel.NONE))
    try:
        with pytest.raises(Misconfigured, match="sessions-value is NONE"):
            registry.assert_registered()
    finally:
        registry.set_and_assert_compatibility()
    registry.assert_registered()
