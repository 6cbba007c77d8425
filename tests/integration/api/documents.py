"""Holds answers against the OpenAPI document: status, content type and schema must be what it says."""

import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

DOCUMENT_URI = "urn:test:openapi"


class Document:
    """The OpenAPI document as a judge of answers."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.value = value
        resource = Resource.from_contents(value, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(DOCUMENT_URI, resource)
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path) for path in value["paths"]]
        self._validator = cache(self._make_validator)

    def check(self, method: str, url: str, status: int, content_type: str, answer: Any) -> None:
        """Fails the test unless the answer is one that the document promises."""
        path = self._path_of(urlsplit(url).path, method)
        if path is None:
            return
        responses = self.value["paths"][path][method.lower()]["responses"]
        place = responses.get(str(status))
        assert place is not None, f"{method} {path} answered {status}, which is not in the document"
        if "content" not in place:
            assert answer is None
            return
        assert content_type in place["content"]
        pointer = place["content"][content_type]["schema"]["$ref"]
        self._validator(pointer).validate(answer)

    def _path_of(self, url_path: str, method: str) -> str | None:
        """A fixed path comes before one with an id."""
        found = [path for pattern, path in self._paths if pattern.fullmatch(url_path)]
        fitting = [path for path in found if method.lower() in self.value["paths"][path]]
        return min(fitting, key=lambda path: path.count("{"), default=None)

    def _make_validator(self, pointer: str) -> Draft202012Validator:
        return Draft202012Validator({"$ref": DOCUMENT_URI + pointer}, registry=self._registry)
