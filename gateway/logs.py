"""Structured logs: JSON for machines, lines for people. Callers never pass secrets or customers' words."""

import logging
import sys
from typing import TextIO

import structlog

from gateway.settings import LogFormat

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(log_format: LogFormat, stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Sets the process's logging, libraries' too, to one form; colours only on a terminal."""
    renderer: structlog.typing.Processor
    if log_format is LogFormat.JSON:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    _configure_libraries(renderer, stream)


def _configure_libraries(renderer: structlog.typing.Processor, stream: TextIO) -> None:
    """Libraries log through the standard library: warnings and worse, in the same form, without their traces (an
    error's text may hold the values of a row).
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_drop_trace, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # While the database is away the pool tells of every try to come back; our lanes tell it once a second.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    # The server's own log of requests that are none: their bytes may hold a credential.
    logging.getLogger("waystation.http").setLevel(logging.CRITICAL)


def _drop_trace(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    record: logging.LogRecord = event["_record"]
    if record.exc_info and record.exc_info[0]:
        event["error"] = record.exc_info[0].__name__
    record.exc_info = record.exc_text = None
    event.pop("exc_info", None)
    return event
