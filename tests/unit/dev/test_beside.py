"""Beside `waystation dev` no command asks a real provider of the made-up customers."""

import pytest

from gateway.dev.beside import beside_dev
from gateway.dev.dev_state import begin_state, only_one, write_state
from gateway.settings import Settings

DSN = "postgresql://owner:password@db/waystation"


@pytest.fixture
def home(tmp_path):
    write_state(tmp_path, begin_state(tmp_path, "http://127.0.0.1:8080"))
    return tmp_path


def test_while_dev_runs_the_providers_are_its_stand_ins(home):
    with only_one(home):
        beside = beside_dev(Settings(), home)

    assert beside is not None
    urls = beside.provider_urls
    asked = [urls.twilio, urls.meta_graph, urls.sendgrid, urls.mailgun, urls.postmark, urls.resend, urls.ses]
    assert all(url is not None and url.startswith("http://127.0.0.1:") for url in asked)


def test_once_dev_has_ended_nothing_stands_in(home):
    with only_one(home):
        pass
    assert beside_dev(Settings(), home) is None


def test_where_none_ever_ran_nothing_stands_in_and_nothing_is_made(tmp_path):
    assert beside_dev(Settings(), tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_a_named_database_may_be_another_one(home):
    with only_one(home):
        assert beside_dev(Settings(database_url=DSN), home) is None
