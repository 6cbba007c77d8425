"""What all requests and answers share: strict bodies, numbers, times, pages, problems."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

_MAX_PAGE = 200
_DEFAULT_PAGE = 50
# Controls, separators of lines, and what embeds or overrides a direction: a name that holds them is shown as another.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
ItemT = TypeVar("ItemT")
# Providers approve a text in a country's language; Meta knows no Portuguese but pt_BR and pt_PT.
TemplateLanguage = Annotated[
    str,
    StringConstraints(pattern=r"^(es|en|pt)(_[A-Z]{2})?$"),
    Field(description="As the provider approved the text: es, or es_MX.", examples=["es", "pt_BR"]),
]


def _without_null_defaults(schema: dict[str, Any]) -> None:
    """In a patch a missing field means "unchanged", not null."""
    for field in schema.get("properties", {}).values():
        if "default" in field and field["default"] is None:
            del field["default"]


class Body(BaseModel):
    """The base of request bodies: an unknown field is refused, so that a slip of the pen shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Patch(Body):
    """The base of partial changes: what is absent stays; null is a value, where a field allows it."""

    model_config = ConfigDict(json_schema_extra=_without_null_defaults)

    def changes(self) -> dict[str, Any]:
        """The fields that were given."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def absent(**more: Any) -> Any:
    """A field of a patch that may be left out and, where it is given, may not be null."""
    return Field(default=None, **more)


class Answer(BaseModel):
    """The base of answers, made from rows."""

    model_config = ConfigDict(
        frozen=True, from_attributes=True, json_schema_serialization_defaults_required=True
    )


class NoQuery(BaseModel):
    """For operations that take no query parameter."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PageQuery(NoQuery):
    """The query parameters of every list."""

    limit: int = Field(default=_DEFAULT_PAGE, ge=1, le=_MAX_PAGE, description="How many items at most.")
    cursor: str | None = Field(
        default=None,
        max_length=1_000,
        description="The `next_cursor` of the page before; absent for the first.",
    )


class Page(Answer, Generic[ItemT]):
    """One page of a list, newest first unless it says otherwise."""

    data: list[ItemT]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")


class FieldProblem(Answer):
    """What is wrong with one field."""

    location: str = Field(description="`body`, `query`, `path` or `header`.")
    field: str = Field(description="The field's dotted path; empty for the whole.")
    code: str
    message: str


class Problem(Answer):
    """An error (RFC 9457); decide on `code`, which is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = Field(default=None, description="Names this request in our logs.")
    errors: list[FieldProblem] = Field(default=[], description="With status 422: field by field.")


def no_boolean(value: Any) -> Any:
    """For numbers: true is not 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports ValueError only
    return value


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _restore_plus(value: Any) -> Any:
    # An unescaped + of a time's offset arrives as a blank.
    return value.replace(" ", "+") if isinstance(value, str) else value


def _one_plain_line(text: str) -> str:
    if _UNSHOWN.search(text):
        raise ValueError("may hold no control characters, and none that turn the direction of text")
    return text


Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_one_plain_line),
]
SearchText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Money = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=4), BeforeValidator(no_boolean)]
Quantity = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=3), BeforeValidator(no_boolean)]
Moment = Annotated[datetime, BeforeValidator(_restore_plus), AfterValidator(_utc)]
JsonObject = dict[str, Any]  # depth and range of what is in it were bounded when the body was read
