"""Forms of both kinds from their bytes: what is of the form is read exactly, everything else is refused."""

from urllib.parse import unquote_to_bytes, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from channels.base import InboundRequest
from channels.errors import MalformedPayload
from channels.multipart import PART_LIMIT, FormPart, read_form
from tests.mail_forms import multipart, urlencoded

FIELD = b'Content-Disposition: form-data; name="a"\r\n\r\n'


def request(content_type, body):
    return InboundRequest(
        "POST", "https://gw.example.test/x", CIMultiDict({"Content-Type": content_type}), body
    )


def posted(body, boundary="b"):
    return request(f"multipart/form-data; boundary={boundary}", body)


def one_part(head, content=b"x"):
    (part,) = read_form(posted(b"--b\r\n" + head + b"\r\n\r\n" + content + b"\r\n--b--\r\n")).parts
    return part


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'Content-Disposition: form-data; name="text"', FormPart("text", b"x")),
        (b"content-disposition: FORM-DATA; name=text", FormPart("text", b"x")),
        (b'Content-Disposition: form-data; name=""', FormPart("", b"x")),
        (b'Content-Disposition: form-data; filename="a.pdf"; name="f"', FormPart("f", b"x", "a.pdf")),
        (b'Content-Disposition: form-data; name="f"; filename=""', FormPart("f", b"x", "")),
        (
            b'Content-Disposition: form-data; name="f"; filename="a\\"b;c.pdf"',
            FormPart("f", b"x", 'a"b;c.pdf'),
        ),
        (b'Content-Disposition: form-data; name="f"; filename="a%22b.pdf"', FormPart("f", b"x", 'a"b.pdf')),
        (
            'Content-Disposition: form-data; name="f"; filename="año.pdf"'.encode(),
            FormPart("f", b"x", "año.pdf"),
        ),
        (
            b'Content-Disposition: form-data; name="f"; filename="a"; filename*=UTF-8\'\'a%C3%B1o.pdf',
            FormPart("f", b"x", "año.pdf"),
        ),
        (
            b"Content-Disposition: form-data; name=\"f\"; filename*=punycode''a%C3%B1o.pdf",
            FormPart("f", b"x", "año.pdf"),
        ),
        (
            b'Content-Disposition: form-data;\r\n name="f"\r\nContent-Type: Text/Plain; charset="iso-8859-1"',
            FormPart("f", b"x", None, "text/plain", "iso-8859-1"),
        ),
    ],
)
def test_a_part_is_what_its_headers_say(head, expected):
    assert one_part(head) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"no boundary at all",
        b"--b\r\n" + FIELD + b"x",  # broken off
        b"--b\r\n" + FIELD + b"x\r\n--b",  # broken off within the last boundary's line
        b"--b\r\n" + FIELD + b"x\r\n--bee--\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--",
        b"--b\r\nno blank line\r\n--b--",
        b"--b\r\n" + b"X: y\r\n" * 4000 + FIELD + b"x\r\n--b--",  # headers without an end
        (b"--b\r\n" + FIELD + b"x\r\n") * (PART_LIMIT + 1) + b"--b--",
    ],
)
def test_what_is_no_form_is_refused(body):
    with pytest.raises(MalformedPayload):
        read_form(posted(body))


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/mixed; boundary=b", "multipart/form-data"])
def test_another_content_type_is_refused(kind):
    with pytest.raises(MalformedPayload):
        read_form(request(kind, b"--b\r\n" + FIELD + b"x\r\n--b--"))


def test_too_many_fields_are_refused():
    with pytest.raises(MalformedPayload):
        read_form(request("application/x-www-form-urlencoded", b"a=1&" * PART_LIMIT))


@pytest.mark.parametrize("body", [b"a=%", b"a=%2", b"a=%zz", b"%=1", b"a=%%41"])
def test_a_percent_sign_that_escapes_nothing_is_refused(body):
    with pytest.raises(MalformedPayload):
        read_form(request("application/x-www-form-urlencoded", body))


def test_of_repeated_names_the_last_counts():
    fields = [{"name": "token", "text": "first"}, {"name": "token", "text": "last"}]

    for encode in (multipart, urlencoded):
        headers, body = encode(fields)
        form = read_form(request(headers["Content-Type"], body))
        assert form.text("token") == "last"
        assert "token" in form
        assert form.text("missing") == ""


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters='"\\%\r\n'), max_size=20),
            st.binary(max_size=200),
        ),
        max_size=8,
    )
)
def test_every_byte_of_every_part_is_kept(parts):
    boundary = "a-boundary-that-no-content-has-0123456789"
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in parts
    )

    form = read_form(posted(body + f"--{boundary}--\r\n".encode(), boundary))

    assert [part.content for part in form.parts] == [content for _, content in parts]


@given(st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=8))
def test_every_byte_of_every_field_is_kept(fields):
    form = read_form(request("application/x-www-form-urlencoded", urlencode(fields).encode()))

    assert [part.content for part in form.parts] == [content for _, content in fields]


@given(st.binary())
def test_escapes_are_those_of_the_standard_or_refused(value):
    try:
        (part,) = read_form(
            request("application/x-www-form-urlencoded", b"a=" + value.replace(b"&", b""))
        ).parts
    except MalformedPayload:
        assert b"%" in value
        return
    assert part.content == unquote_to_bytes(value.replace(b"&", b"").replace(b"+", b" "))


@given(st.binary(max_size=300), st.text(max_size=60))
def test_nothing_but_malformed_payload_is_raised(noise, kind):
    for content_type in (kind, "multipart/form-data; boundary=b", "application/x-www-form-urlencoded"):
        for body in (noise, b"--b\r\n" + noise, b"--b\r\n" + FIELD + noise + b"\r\n--b--"):
            try:
                form = read_form(request(content_type, body))
            except MalformedPayload:
                continue
            assert all(isinstance(part.text, str) for part in form.parts)
