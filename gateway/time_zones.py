"""Which names of time zones may be given: IANA's with a region, and UTC.

A machine's database has more: `localtime` is whatever this machine is set to, `posix/…` and `right/…` are not on
every machine, and abbreviations such as EST know no summer time.
"""

import re

_NAME = re.compile(r"UTC|(?!posix/|right/)[A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+")


def named_by_region(name: str) -> str:
    """The name as it is; raises ValueError for one without a region. Whether it exists is asked elsewhere."""
    if not _NAME.fullmatch(name):
        raise ValueError("must be an IANA name with a region, such as America/Mexico_City, or UTC")
    return name
