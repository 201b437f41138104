"""Passwords of the local stack: made once, kept, for this user alone, gone with the data."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from contracts.errors import Misconfigured
from contracts.settings import PromotionSettings, Settings, StackSettings
from sightline.stack import logins
from sightline.stack.down import down
from sightline.stack.home import Home, read_env, write_settings
from sightline.stack.up import _settled


def a_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def test_they_are_made_once_and_new_names_get_theirs(tmp_path: Path):
    home = a_home(tmp_path)
    first = logins.ensure(home, people=["viewer"], accounts=["sightline-jobs"])
    second = logins.ensure(home, people=["viewer", "admin"], accounts=["sightline-jobs"])
    assert second.people["viewer"] == first.people["viewer"]
    assert second.accounts == first.accounts
    assert second == logins.read(home)
    every = [*second.people.values(), *second.accounts.values()]
    assert len(set(every)) == 3
    assert all(len(password) >= 20 for password in every)
    assert home.logins_file.stat().st_mode & 0o077 == 0
    assert not [password for password in every if password in repr(second)]


def test_keys_are_made_once_and_a_file_from_before_them_is_read(tmp_path: Path):
    home = a_home(tmp_path)
    home.logins_file.write_text('{"people": {"viewer": "a-password"}, "accounts": {}}')
    assert logins.read(home).keys == {}
    first = logins.ensure(home, people=["viewer"], accounts=[], keys=["airflow-fernet"])
    assert first.people == {"viewer": "a-password"}
    assert len(base64.urlsafe_b64decode(first.keys["airflow-fernet"])) == 32
    assert logins.ensure(home, people=["viewer"], accounts=[], keys=["airflow-fernet"]) == first
    assert first.keys["airflow-fernet"] not in repr(first)


def test_without_profile_full_there_are_none_and_it_says_so(tmp_path: Path):
    with pytest.raises(Misconfigured, match="sightline up --profile full"):
        logins.read(a_home(tmp_path))


def test_settings_of_profile_full_name_keycloak_and_the_api_and_those_of_core_do_not(tmp_path: Path):
    home = a_home(tmp_path)
    write_settings(home, Settings(stack=StackSettings(port_base=21000, profile="full")), {})
    full = read_env(home.settings_file)
    assert full["SIGHTLINE_AUTH__ISSUER"] == "http://127.0.0.1:21085/realms/sightline"
    assert full["SIGHTLINE_AUTH__JWKS_URL"] == full["SIGHTLINE_AUTH__ISSUER"] + "/protocol/openid-connect/certs"
    assert full["SIGHTLINE_API__URL"] == "http://127.0.0.1:21060"
    assert full["SIGHTLINE_SERVING__FOLLOWS_LEDGER"] == "true"
    assert full["SIGHTLINE_PROMOTION__GATE_SETS"] == "any"  # a fresh stack has no reviews
    loaded = Settings.load(home=home.folder)
    assert (loaded.stack.profile, loaded.login.token_file) == ("full", home.tokens_file)
    write_settings(home, Settings(stack=StackSettings(port_base=21000)), {})
    core = read_env(home.settings_file)
    assert core["SIGHTLINE_STACK__PROFILE"] == "core"
    assert set(full) - set(core) >= {"SIGHTLINE_AUTH__ISSUER", "SIGHTLINE_SERVING__FOLLOWS_LEDGER"}
    assert {name for name in core if full[name] != core[name]} == {"SIGHTLINE_STACK__PROFILE"}


def test_who_asks_the_local_stack_for_the_reviewed_gate_set_keeps_it(tmp_path: Path):
    home = a_home(tmp_path)
    strict = Settings(stack=StackSettings(profile="full"), promotion=PromotionSettings(gate_sets="reviewed"))
    write_settings(home, strict, {})
    assert read_env(home.settings_file)["SIGHTLINE_PROMOTION__GATE_SETS"] == "reviewed"
    write_settings(home, Settings.load(home=home.folder), {})
    assert Settings.load(home=home.folder).promotion.gate_sets == "reviewed"


def settled(
    home: Home, *, profile: str | None = None, port_base: int | None = None, first_model: Path | None = None
) -> Settings:
    settings = Settings.load(home=home.folder)
    return _settled(home, settings, {"profile": profile, "port_base": port_base, "first_model": first_model})


def test_the_first_champions_folder_is_remembered(tmp_path: Path):
    home = a_home(tmp_path)
    assert settled(home).stack.first_model is None
    settled(home, first_model=tmp_path / "model")
    assert settled(home).stack.first_model == tmp_path / "model"
    assert Settings.load(home=home.folder).stack.first_model == tmp_path / "model"


def test_the_profile_is_remembered_and_a_running_stack_must_be_down_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    home = a_home(tmp_path)
    settled(home, profile="full", port_base=21000)
    assert settled(home).stack.profile == "full"
    monkeypatch.setattr("sightline.stack.up.Supervisor.is_running", True)
    with pytest.raises(
        Misconfigured, match=r"runs profile full: sightline down first, then sightline up --profile core"
    ):
        settled(home, profile="core")
    assert Settings.load(home=home.folder).stack.profile == "full"


def test_deleting_the_data_deletes_the_passwords(tmp_path: Path):
    home = a_home(tmp_path)
    logins.ensure(home, people=["viewer"], accounts=[])
    home.tokens_file.write_text("{}")
    down(Settings(stack=StackSettings(home=home.folder)), lambda _: None, delete_data=True)
    assert not home.logins_file.exists()
    assert not home.tokens_file.exists()
