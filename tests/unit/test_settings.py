"""Settings: typed, complete, and errors that name the setting and never a secret."""

import base64
import re

import pytest

from channels.base import Channel
from gateway.settings import Settings, SettingsError, read_settings

KEY = base64.b64encode(bytes(32)).decode()


def read(**environ: str) -> Settings:
    return read_settings(environ, env_file=None)


def test_defaults_are_the_contracts():
    settings = read()

    assert (settings.host, settings.port, settings.base_url) == ("127.0.0.1", 8080, "http://127.0.0.1:8080")
    assert settings.retry_schedule == (0, 5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert [
        settings.quiet_seconds(channel) for channel in (Channel.WHATSAPP, Channel.SMS, Channel.EMAIL)
    ] == [4, 2, 0]
    assert settings.egress_allow == ()


def test_lists_are_read_from_commas():
    settings = read(
        WAYSTATION_RETRY_SCHEDULE="0, 1.5,30",
        WAYSTATION_EGRESS_ALLOW="127.0.0.0/8,::1/128",
        WAYSTATION_MASTER_KEYS=f"{KEY},{KEY}",
    )

    assert settings.webhook_schedule.waits == (0, 1.5, 30)
    assert [str(network) for network in settings.egress_allow] == ["127.0.0.0/8", "::1/128"]
    assert settings.opened_master_keys == (bytes(32), bytes(32))


def test_one_debounce_counts_for_all_channels():
    settings = read(WAYSTATION_DEBOUNCE_SECONDS="1")

    assert {settings.quiet_seconds(channel) for channel in Channel} == {1}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WAYSTATION_PROT", "1", "WAYSTATION_PROT is not a setting"),
        ("WAYSTATION_PORT", "http", "WAYSTATION_PORT"),
        ("WAYSTATION_PORT", "70000", "WAYSTATION_PORT"),
        ("WAYSTATION_MASTER_KEYS", "c2VjcmV0", "WAYSTATION_MASTER_KEYS: .*32 bytes"),
        ("WAYSTATION_MASTER_KEYS", "not base64!", "WAYSTATION_MASTER_KEYS"),
        ("WAYSTATION_EGRESS_ALLOW", "10.0.0.0/40", "WAYSTATION_EGRESS_ALLOW"),
        ("WAYSTATION_RETRY_SCHEDULE", "", "WAYSTATION_RETRY_SCHEDULE"),
        ("WAYSTATION_RETRY_SCHEDULE", "0,-1", "WAYSTATION_RETRY_SCHEDULE"),
        ("WAYSTATION_PUBLIC_URL", "gw.example.test", "WAYSTATION_PUBLIC_URL must begin with http"),
        ("WAYSTATION_PUBLIC_URL", "https://", "WAYSTATION_PUBLIC_URL must .*host"),
        (
            "WAYSTATION_PUBLIC_URL",
            "https://gw.example.test/a?x=1#f",
            "WAYSTATION_PUBLIC_URL must have .*no query",
        ),
        ("WAYSTATION_RETRY_SCHEDULE", "0,inf", "WAYSTATION_RETRY_SCHEDULE"),
        ("WAYSTATION_RETRY_SCHEDULE", "0,1e300", "WAYSTATION_RETRY_SCHEDULE"),
        ("WAYSTATION_AI_ENGINE", "oracle", "WAYSTATION_AI_ENGINE"),
        ("WAYSTATION_DATABASE_URL_FILE", "/nowhere/dsn", "WAYSTATION_DATABASE_URL_FILE: No such file"),
    ],
)
def test_a_bad_value_names_its_setting(name: str, value: str, message: str):
    with pytest.raises(SettingsError, match=message) as caught:
        read(**{name: value})

    assert "c2VjcmV0" not in str(caught.value)
    assert "not base64!" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "postgresql://u:S3CR3T#rest@127.0.0.1:1/d",
        "postgresql://u:S3CR3T/rest@127.0.0.1:1/d",
        "postgresql://u:S3CR3T?rest@127.0.0.1:1/d",
        "postgresql://u:S3CR3T@rest@127.0.0.1:1/d",
        "postgresql://u:S3CR3T[rest@127.0.0.1:1/d",
        "postgresql://u:1/S3CR3T@127.0.0.1:1/d",
        "postgresql://u:1?x=S3CR3T@127.0.0.1:1/d",
        "postgresql://u:S3CR3T@127.0.0.1:port/d",
        "postgresql://u:S3CR3T@127.0.0.1:70000/d",
        "postgresql://u:S3CR3T@127.0.0.1:0/d",
        "postgresql://u:S3CR3T@a,,b/d",
        "postgresql://u:S3CR3T@[::1/d",
        "postgresql://u:S3CR3T@127.0.0.1/d?sslmode",
        "postgresql://u:S3CR3T@127.0.0.1/d?port=x",
    ],
)
def test_a_dsn_that_would_be_misread_is_told_without_any_part_of_it(value: str):
    with pytest.raises(SettingsError) as caught:
        read(WAYSTATION_DATABASE_URL=value)

    assert str(caught.value).startswith("WAYSTATION_DATABASE_URL is not a usable URL; percent-encode")
    assert not {"S3CR3T", "rest", "127.0.0.1"} & set(re.findall(r"[\w.]+", str(caught.value)))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "value", ["mysql://u:S3CR3T@h/d", "S3CR3T", "postgresql:S3CR3T", "host=h password=S3CR3T"]
)
def test_a_dsn_of_another_scheme_is_told_so(value: str):
    with pytest.raises(
        SettingsError, match="WAYSTATION_DATABASE_URL must begin with postgresql://"
    ) as caught:
        read(WAYSTATION_DATABASE_URL=value)

    assert "S3CR3T" not in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("sslmode=bogus", "WAYSTATION_DATABASE_URL has a wrong sslmode; .*verify-full"),
        ("target_session_attrs=bogus", "wrong target_session_attrs; .*read-write"),
    ],
)
def test_a_dsn_with_a_wrong_choice_is_told_the_right_ones(parameter: str, message: str):
    with pytest.raises(SettingsError, match=message):
        read(WAYSTATION_DATABASE_URL=f"postgresql://u:p@h/d?{parameter}")


@pytest.mark.parametrize(
    "value",
    [
        "postgres://u@h",
        "postgresql://u:p%23%2F%3F%40@h:5432/d?sslmode=require&application_name=x",
        "postgresql://u:p:q@one:1,two:2/d?target_session_attrs=read-write",
        "postgresql://u:p@[::1]:5432/d",
        "postgresql:///d?host=/var/run/postgresql",
        "postgresql://u:p@%2Fvar%2Frun%2Fpostgresql/d",
    ],
)
def test_a_usable_dsn_is_taken_as_it_is(value: str):
    settings = read(WAYSTATION_DATABASE_URL=value)

    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == value


def test_secrets_come_from_files_and_do_not_print(tmp_path):
    file = tmp_path / "key"
    file.write_text("postgresql://app:hunter2@db/x\n")

    settings = read(WAYSTATION_DATABASE_URL_FILE=str(file), OPENAI_API_KEY="sk-secret")

    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://app:hunter2@db/x"
    assert "hunter2" not in repr(settings)
    assert "sk-secret" not in repr(settings)
    with pytest.raises(SettingsError, match="both set"):
        read(WAYSTATION_DATABASE_URL_FILE=str(file), WAYSTATION_DATABASE_URL="x")


def test_the_environment_wins_over_the_file(tmp_path):
    env_file = tmp_path / ".env"
    env_file.write_text("WAYSTATION_PORT=1000\nWAYSTATION_HOST=0.0.0.0\nOTHER=1\n")

    settings = read_settings({"WAYSTATION_PORT": "2000"}, env_file=env_file)

    assert (settings.host, settings.port) == ("0.0.0.0", 2000)


@pytest.mark.parametrize(
    "name",
    [
        "HOST",
        "PORT",
        "DATABASE_URL",
        "PUBLIC_URL",
        "MASTER_KEYS",
        "EGRESS_ALLOW",
        "AI_ENGINE",
        "RETRY_SCHEDULE",
        "DEBOUNCE_SECONDS",
    ],
)
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_value_is_an_error_for_every_setting(name: str, value: str):
    with pytest.raises(SettingsError, match=f"^WAYSTATION_{name} is empty"):
        read(**{f"WAYSTATION_{name}": value})


def test_an_empty_file_or_name_of_a_file_is_an_error_too(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()

    with pytest.raises(SettingsError, match="WAYSTATION_MASTER_KEYS is empty"):
        read(WAYSTATION_MASTER_KEYS_FILE=str(empty))
    with pytest.raises(SettingsError, match="WAYSTATION_MASTER_KEYS_FILE is empty"):
        read(WAYSTATION_MASTER_KEYS_FILE="")
    with pytest.raises(SettingsError, match="WAYSTATION_MASTER_KEYS must hold at least one key"):
        read(WAYSTATION_MASTER_KEYS=",")


def test_an_option_that_is_empty_is_an_error_too():
    with pytest.raises(SettingsError, match="WAYSTATION_HOST is empty"):
        read_settings({}, env_file=None, host="")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    latin = tmp_path / "latin"
    latin.write_bytes("WAYSTATION_HOST=año".encode("latin-1"))

    with pytest.raises(SettingsError, match="latin cannot be read: it is not UTF-8"):
        read_settings({}, env_file=latin)
    with pytest.raises(SettingsError, match=f"{tmp_path.name} cannot be read: Is a directory"):
        read_settings({}, env_file=tmp_path)
    with pytest.raises(SettingsError, match="WAYSTATION_MASTER_KEYS_FILE does not name a text file"):
        read(WAYSTATION_MASTER_KEYS_FILE=str(latin))
    assert read_settings({}, env_file=tmp_path / "absent") == Settings()


def test_an_address_of_version_6_is_bracketed():
    assert read(WAYSTATION_HOST="::1").base_url == "http://[::1]:8080"
