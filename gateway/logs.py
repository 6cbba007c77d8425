"""Structured logs: JSON for machines, lines for people. Callers never pass secrets or customers' words."""

import logging
import sys
from typing import TextIO

import structlog

from gateway.settings import LogFormat


def configure_logging(log_format: LogFormat, stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Sets the process's logging; colours only on a terminal."""
    renderer: structlog.typing.Processor
    if log_format is LogFormat.JSON:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        stream=stream, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", force=True
    )
