"""What docs/webhooks.md says is true: its functions run and judge right, its requests are taken, its facts are the code's."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from channels.egress import EgressTimeouts
from channels.errors import FaultClass
from gateway.api.endpoint_models import EndpointCreate, EndpointTry, SecretRotation
from gateway.api.pulls import Acknowledgement, PullQuery
from gateway.api.routes import OPERATIONS
from gateway.settings import Settings
from handlers.webhooks.delivery import ABORT, DISABLE
from handlers.webhooks.health import DISABLE_AFTER
from handlers.webhooks.payloads import OrderCreated
from handlers.webhooks.signing import EndpointSecret, new_private_key, new_secret, sign, signing_key

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8")

# Standard Webhooks' own example.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID, SENT = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SIGNATURE_V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
OTHER = new_secret(lambda count: b"y" * count)
ACCENTS = '{"text":"¿Señora, 2 cajas? 🧃","n":1e400}'.encode()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def signed(secret: str, body: bytes, *, message_id: str = MESSAGE_ID, sent: int = SENT) -> str:
    return sign(message_id, sent, body, [signing_key(EndpointSecret(secret))])


@dataclass(frozen=True, slots=True)
class Case:
    """A request and whether it is genuine; what is not named is as in the example."""

    name: str
    genuine: bool
    signature: str | None = SIGNATURE
    secret: str = SECRET
    message_id: str | None = MESSAGE_ID
    timestamp: str | None = str(SENT)
    body: bytes = BODY
    now: int = SENT

    def line(self) -> str:
        """The case as programs in any language read it: fields in base64, a missing one is `-`."""
        fields = (self.secret, self.message_id, self.timestamp, self.signature)
        texts = [
            "-" if value is None else base64.b64encode(value.encode()).decode() or "=" for value in fields
        ]
        return " ".join([*texts, base64.b64encode(self.body).decode() or "=", str(self.now)])


CASES = (
    Case("as the specification has it", genuine=True),
    Case("an accent, an emoji, a strange number", True, signed(SECRET, ACCENTS), body=ACCENTS),
    Case("an empty body", True, signed(SECRET, b""), body=b""),
    Case("a byte that is no text", True, signed(SECRET, b"\xff\x00"), body=b"\xff\x00"),
    Case("just in time", True, now=SENT + 300),
    Case("a clock that is behind", True, now=SENT - 300),
    Case("rotated, by the new secret", True, f"{SIGNATURE} {signed(OTHER, BODY)}"),
    Case("rotated, by the old secret", True, f"{signed(OTHER, BODY)} {SIGNATURE}"),
    Case("with a signature by key beside", True, f"{SIGNATURE_V1A} {SIGNATURE}"),
    Case("behind an unknown version", True, f"v9,AAAA {SIGNATURE}"),
    Case("behind what is no entry at all", True, f"v1 , v1, {SIGNATURE}"),
    Case("a tampered body", False, body=BODY.replace(b"2", b"3", 1)),
    Case("a body written anew", False, body=b'{"test":2432232314}'),
    Case("a tampered id", False, message_id=MESSAGE_ID + "x"),
    Case("a tampered time", False, timestamp=str(SENT + 1)),
    Case("an old one", False, now=SENT + 301),
    Case("one from the future", False, now=SENT - 301),
    Case("another secret", False, secret=OTHER),
    Case("an unknown version alone", False, SIGNATURE.replace("v1,", "v2,")),
    Case("a key's signature alone", False, SIGNATURE_V1A),
    Case("a signature without its version", False, SIGNATURE.removeprefix("v1,")),
    Case("a signature cut short", False, SIGNATURE[:-4]),
    Case("a signature that goes on", False, SIGNATURE + "="),
    Case("an empty signature", False, ""),
    Case("no signature", False, None),
    Case("no id", False, message_id=None),
    Case("no time", False, timestamp=None),
    Case("an empty time", False, timestamp=""),
    Case("a time that is a word", False, signed(SECRET, BODY), timestamp="now"),
    Case("a time with a fraction", False, timestamp=f"{SENT}.0"),
    Case("a time with a sign", False, timestamp=f"+{SENT}"),
    Case("a time with a line after it", False, timestamp=f"{SENT}\n"),
    Case("a time in other digits", False, timestamp="١٦١٤٢٦٥٣٣٠"),
    Case("a time without an end", False, timestamp="9" * 6000),
)

DRIVERS: Mapping[str, str] = {
    "js": """
import { readFileSync } from "node:fs";
const text = (field) => Buffer.from(field, "base64").toString();
const rows = readFileSync(0, "utf8").trim().split("\\n").map((row) => row.split(" "));
for (const [secret, id, time, signature, body, now] of rows) {
  const headers = {};
  if (id !== "-") headers["webhook-id"] = text(id);
  if (time !== "-") headers["webhook-timestamp"] = text(time);
  if (signature !== "-") headers["webhook-signature"] = text(signature);
  console.log(isGenuine(text(secret), headers, Buffer.from(body, "base64"), Number(now)));
}
""",
    "go": """
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func bytes(field string) []byte {
	if field == "=" {
		return nil
	}
	found, err := base64.StdEncoding.DecodeString(field)
	if err != nil {
		panic(err)
	}
	return found
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		row := strings.Split(lines.Text(), " ")
		header := http.Header{}
		for place, name := range map[int]string{1: "webhook-id", 2: "webhook-timestamp", 3: "webhook-signature"} {
			if row[place] != "-" {
				header.Set(name, string(bytes(row[place])))
			}
		}
		now, _ := strconv.ParseInt(row[5], 10, 64)
		fmt.Println(IsGenuine(string(bytes(row[0])), header, bytes(row[4]), time.Unix(now, 0)))
	}
}
""",
    "php": """
while (($row = fgets(STDIN)) !== false) {
    [$secret, $id, $time, $signature, $body, $now] = explode(' ', trim($row));
    $headers = [];
    foreach (['webhook-id' => $id, 'webhook-timestamp' => $time, 'webhook-signature' => $signature] as $name => $value) {
        if ($value !== '-') {
            $headers[$name] = base64_decode($value);
        }
    }
    echo is_genuine(base64_decode($secret), $headers, base64_decode($body), (int) $now) ? 'true' : 'false', "\\n";
}
""",
    "ruby": """
$stdin.each_line do |row|
  secret, id, time, signature, body, now = row.split(" ")
  text = ->(field) { field.unpack1("m").force_encoding("UTF-8") }
  headers = { "webhook-id" => id, "webhook-timestamp" => time, "webhook-signature" => signature }
  headers = headers.reject { |_, value| value == "-" }.transform_values(&text)
  puts genuine?(text.(secret), headers, body.unpack1("m"), now: now.to_i)
end
""",
    "java": """
final class Driver {
    static byte[] bytes(String field) {
        return field.equals("=") ? new byte[0] : Base64.getDecoder().decode(field);
    }

    public static void main(String[] arguments) throws Exception {
        var in = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] row = line.split(" ");
            var headers = new java.util.HashMap<String, String>();
            String[] names = {"", "webhook-id", "webhook-timestamp", "webhook-signature"};
            for (int place = 1; place < 4; place++) {
                if (!row[place].equals("-")) {
                    headers.put(names[place], new String(bytes(row[place]), StandardCharsets.UTF_8));
                }
            }
            String secret = new String(bytes(row[0]), StandardCharsets.UTF_8);
            System.out.println(Webhooks.isGenuine(secret, headers, bytes(row[4]), Long.parseLong(row[5])));
        }
    }
}
""",
}


@dataclass(frozen=True, slots=True)
class Language:
    """How a snippet becomes a program: its files by name, and the command in their folder that runs it."""

    block: str
    command: tuple[str, ...]
    files: Callable[[str, str], Mapping[str, str]] = field(repr=False)


def _after_imports(snippet: str, driver: str) -> dict[str, str]:
    imports, separator, rest = snippet.rpartition("import ")
    last, _, rest = rest.partition("\n")
    imports += f"{separator}{last}\n"
    return {"Driver.java": imports + driver + rest}


LANGUAGES = (
    Language("js", ("node", "driver.mjs"), lambda snippet, driver: {"driver.mjs": snippet + driver}),
    Language(
        "go",
        ("go", "run", "verify.go", "driver.go"),
        lambda snippet, driver: {
            "verify.go": snippet.replace("package webhooks", "package main"),
            "driver.go": driver.lstrip(),
        },
    ),
    Language("php", ("php", "driver.php"), lambda snippet, driver: {"driver.php": snippet + driver}),
    Language("ruby", ("ruby", "driver.rb"), lambda snippet, driver: {"driver.rb": snippet + driver}),
    Language("java", ("java", "Driver.java"), _after_imports),
)


def run(language: Language, folder: Path) -> list[bool]:
    """What the function says to each case."""
    (snippet,) = blocks(language.block)
    for name, text in language.files(snippet, DRIVERS[language.block]).items():
        (folder / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        language.command,
        cwd=folder,
        input="".join(f"{case.line()}\n" for case in CASES),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line == "true" for line in done.stdout.splitlines()]


@pytest.mark.timeout(120)  # compilers on a busy machine
@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.block)
def test_the_function_judges_every_case(language: Language, tmp_path: Path):
    if shutil.which(language.command[0]) is None:
        pytest.skip(f"{language.command[0]} is not installed here")

    said = run(language, tmp_path)

    assert len(said) == len(CASES)
    assert [case.name for case, genuine in zip(CASES, said, strict=True) if genuine is not case.genuine] == []


def names_in(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(snippet, "webhooks.md", "exec"), names)
    return names


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_function_in_python_judges_every_case(case: Case):
    is_genuine = names_in(blocks("python")[0])["is_genuine"]
    given = {
        "webhook-id": case.message_id,
        "webhook-timestamp": case.timestamp,
        "webhook-signature": case.signature,
    }
    headers = {name: value for name, value in given.items() if value is not None}

    assert is_genuine(case.secret, headers, case.body, case.now) is case.genuine


def test_without_a_time_the_function_in_python_takes_its_own():
    is_genuine = names_in(blocks("python")[0])["is_genuine"]
    now = int(datetime.now(UTC).timestamp())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}

    for sent, genuine in ((now, True), (now - 400, False)):
        signature = signed(SECRET, BODY, message_id="evt_1", sent=sent)
        assert (
            is_genuine(
                SECRET, {**headers, "webhook-timestamp": str(sent), "webhook-signature": signature}, BODY
            )
            is genuine
        )


@pytest.mark.parametrize(
    ("signature", "body", "genuine"),
    [
        (SIGNATURE_V1A, BODY, True),
        (f"{SIGNATURE} {SIGNATURE_V1A}", BODY, True),
        (f"v1a,AAAA v1a {SIGNATURE_V1A}", BODY, True),
        (SIGNATURE_V1A, BODY + b" ", False),
        (signed(new_private_key(bytes), BODY), BODY, False),
        (SIGNATURE, BODY, False),
        ("v1a,", BODY, False),
    ],
)
def test_the_function_for_key_pairs_judges_every_case(signature: str, body: bytes, genuine: bool):
    is_signed_by = names_in(blocks("python")[1])["is_signed_by"]
    headers = {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(SENT),
        "webhook-signature": signature,
    }

    assert is_signed_by(PUBLIC_KEY, headers, body) is genuine


COMMANDS = [command.replace("\\\n", " ") for block in blocks("sh") for command in block.split("\ncurl")]


@pytest.mark.parametrize("command", [command for command in COMMANDS if "-d '" in command])
def test_the_requests_are_taken_as_they_are_written(command: str):
    path = re.search(r"\$URL/v1/webhook-endpoints(/\$ENDPOINT/(\w+))?", command)
    body = re.search(r"-d '(.*?)'", command, flags=re.DOTALL)
    assert path
    assert body
    operation = next(
        operation
        for operation in OPERATIONS
        if operation.method == "POST"
        and operation.path == "/v1/webhook-endpoints" + (f"/{{id}}/{path[2]}" if path[2] else "")
    )
    assert operation.body
    operation.body.model_validate(json.loads(body[1]))


def test_what_is_asked_for_in_words_exists():
    EndpointTry.model_validate({})
    SecretRotation.model_validate({"overlap_seconds": 0})
    Acknowledgement.model_validate({"delivery_ids": ["0198c0de-0000-7000-8000-000000000001"]})
    query = re.search(r"/pull\?([\w=&]+)", GUIDE)
    assert query
    PullQuery.model_validate(dict(pair.split("=") for pair in query[1].split("&")))
    for fields in (
        {"payload": "thin", "rate_limit_per_second": 1, "max_in_flight": 1, "verify": True},
        {"ordering": "conversation", "signing": "both"},
        {"ordering": "conversation", "signing": "ed25519"},
    ):
        EndpointCreate.model_validate({"name": "x", "url": "https://x.test", "event_types": ["*"], **fields})
        assert all(f'"{value}"' in GUIDE for value in fields.values() if isinstance(value, str))


@pytest.mark.parametrize(
    ("method", "path"),
    sorted(
        {(method or "GET", path) for method, path in re.findall(r"`(?:(GET|POST) )?(/v1/[^`?]*)[?`]", GUIDE)}
    ),
)
def test_paths_are_operations(method: str, path: str):
    assert (method, path) in {(operation.method.value, operation.path) for operation in OPERATIONS}


def test_the_facts_are_those_of_the_code():
    units = {"s": 1, "min": 60, "h": 3600}
    schedule = re.search(r"<!-- schedule -->`(.*)`", GUIDE)
    assert schedule
    waits = [int(number) * units[unit] for number, unit in (wait.split() for wait in schedule[1].split(", "))]
    assert [0, *waits] == list(Settings().retry_schedule)
    assert len(waits) + 1 == 11
    assert "<!-- tries -->eleven times" in GUIDE
    assert all(f"`webhook-delivery: {wish}`" in GUIDE for wish in (DISABLE, ABORT))
    assert f"<!-- timeout -->{EgressTimeouts().total:g} seconds" in GUIDE
    assert f"<!-- disable -->{DISABLE_AFTER.days} days" in GUIDE
    classes = re.findall(r"^\| `(\w+)` \| ", GUIDE.split("`error_class` |")[1], flags=re.MULTILINE)
    assert sorted(classes) == sorted(FaultClass)
    (example,) = blocks("json")
    assert json.loads(example)["data"].keys() <= OrderCreated.model_fields.keys()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", GUIDE))))
def test_links_within_the_page_lead_somewhere(anchor: str):
    headings = re.findall(r"^#+ (.*)$", GUIDE, flags=re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
