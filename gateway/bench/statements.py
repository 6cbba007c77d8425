"""The benchmarks' own statements."""

from importlib import resources

from db.named_sql import parse_statements

STATEMENTS = parse_statements(
    "bench", resources.files("gateway.bench").joinpath("bench.sql").read_text(encoding="utf-8")
)
