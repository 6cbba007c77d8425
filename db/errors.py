"""The database floor's tree of errors. A class's docstring is its default message; no message holds a secret.

DatabaseError
├── DatabaseUnavailable         the server is away; the same try may work later
├── DatabaseRefused             the server refuses what an operator configured
├── SchemaOutdated              migrations are missing
├── DatabaseBusy                somebody holds a lock; the same try may work in a moment
├── PartitionReferenced         rows of another table refer to a partition that is to go
├── PartitionMissing            nobody has made partitions for this time; make them and try again
├── MigrationFailed             a file of migrations is missing, misnamed, or fails
├── Conflict                    a rule of the schema refuses the row
├── SealBroken                  a sealed value cannot be opened with the configured keys
│   └── KeysMissing             a key that seals something is not among the configured ones
└── EmbeddedDatabaseError       the PostgreSQL that Waystation starts for one machine
    ├── PostgresNotFoundError   no usable PostgreSQL program on this machine
    ├── DataFolderError         the data folder cannot be used as it is
    └── ServerStartError        the server did not come up
"""

from collections.abc import Sequence


class DatabaseError(Exception):
    """The database failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached."""


class DatabaseRefused(DatabaseError):
    """The database refuses the configured login."""


class SchemaOutdated(DatabaseError):
    """The database's schema is older than this program; run `waystation migrate`."""


class DatabaseBusy(DatabaseError):
    """Somebody else holds a lock that this needs."""


class PartitionReferenced(DatabaseError):
    """Rows of another table still refer to a partition that is to go."""


class PartitionMissing(DatabaseError):
    """No partition takes a row of this time."""


class MigrationFailed(DatabaseError):
    """A migration cannot be applied."""


class Conflict(DatabaseError):
    """A row of that kind exists already."""


class SealBroken(DatabaseError):
    """A sealed value cannot be opened with the configured master keys."""


class KeysMissing(SealBroken):
    """The configured master keys do not open what this database holds; ``key_ids`` are those that are missing."""

    def __init__(self, key_ids: Sequence[str]) -> None:
        self.key_ids = tuple(key_ids)
        super().__init__(
            "WAYSTATION_MASTER_KEYS does not open what this database holds; add what is missing to the list:"
            f" {', '.join(f'the key with the id {shown}' for shown in self.key_ids)}"
        )


class EmbeddedDatabaseError(DatabaseError):
    """The embedded PostgreSQL failed."""


class PostgresNotFoundError(EmbeddedDatabaseError):
    """No usable PostgreSQL was found on this machine."""


class DataFolderError(EmbeddedDatabaseError):
    """The embedded PostgreSQL's data folder cannot be used."""


class ServerStartError(EmbeddedDatabaseError):
    """The embedded PostgreSQL did not start."""
