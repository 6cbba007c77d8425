"""The calls of docs/database/practical-examples.md, made as they stand there: curl's, and JavaScript's where node is."""

import asyncio
import os
import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from yarl import URL

from handlers.runtime import Runtime
from handlers.tenants import create_api_key
from tests.database_docs.build import DOCUMENTS, tell_story
from tests.integration.api.conftest import AioClient, Api
from tests.integration.api.documents import Document

TEXT = (DOCUMENTS / "practical-examples.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(curl .*)\n```$", TEXT, re.MULTILINE)
(SCRIPT,) = re.findall(r"^```js\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
# No test asks the network for a name: an address stands in for the documented host.
HOST, ADDRESS = "warehouse.example.com", "93.184.215.14"


@dataclass(frozen=True, slots=True)
class Call:
    """A curl command, taken apart."""

    method: str
    url: str
    headers: dict[str, str]
    body: str | None


def parse_curl(command: str) -> Call:
    """Only the options that the documents use; any other fails."""
    words = iter(shlex.split(command)[1:])
    method, url, headers, body = None, "", {}, None
    for word in words:
        match word:
            case "-s":
                pass
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                body = next(words)
            case _:
                assert word.startswith("$URL/"), f"unknown option {word}"
                url = word.removeprefix("$URL")
    return Call(method or ("GET" if body is None else "POST"), url, headers, body)


@pytest.fixture
async def valle(admin_dsn: str, http: AioClient, document: Document, runtime: Runtime) -> Api:
    """The story's first tenant, with a key."""
    ids = await tell_story(admin_dsn)
    created = await create_api_key(runtime, ids["valle"], "examples")
    return Api(http, document, ids["valle"], created.api_key)


async def make(api: Api, command: str):
    call = parse_curl(command.replace(HOST, ADDRESS))
    assert call.headers.pop("Authorization") == "Bearer $KEY"
    data = None if call.body is None else call.body.encode()
    return await api.call(call.method, call.url, headers=call.headers, data=data)


def command_with(part: str) -> str:
    return next(str(command) for command in COMMANDS if part in command)


async def test_every_curl_call_is_answered_as_the_document_of_the_api_says(valle: Api):
    _, waiting = await make(valle, command_with("status=RETRYING"))
    for command in COMMANDS:
        status, answer = await make(valle, command.replace("$DELIVERY", waiting["data"][0]["id"]))

        assert status in (200, 201, 202), (command, answer)


async def test_lists_find_what_the_story_tells(valle: Api):
    _, unread = await make(valle, command_with("unread=true"))
    _, review = await make(valle, command_with("status=REVIEW"))

    names = [each["customer_name"] for each in unread["data"]]
    assert names == ["Café Aurora", "Restaurante La Palma", "Bar El Faro"]
    assert [order["review_reasons"] for order in review["data"]] == [["unmatched"]]


def test_the_script_asks_for_paths_that_exist(document: Document):
    paths = [urlsplit(url).path for url in re.findall(r'"(/v1/[^"]*)"', SCRIPT)]

    assert paths
    assert set(paths) <= document.value["paths"].keys()


@pytest.mark.only_with_node
async def test_the_script_prints_every_order(valle: Api):
    printed = await run_script(valle.http.make_url("/"), valle.api_key)

    assert len(printed.splitlines()) == len(await valle.walk("/v1/orders", 50))
    assert printed.startswith("2025-06-16T17:40:05Z PENDING 743 MXN")


async def run_script(url: URL, key: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "node",
        "--input-type=module",
        "--eval",
        SCRIPT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "URL": str(url).rstrip("/"), "KEY": key},
    )
    output, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
    return output.decode()
