"""Free ports: for whoever must tell a port before it listens on it. Another program may be quicker; that is told then."""

import socket

LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on at this moment; raises OSError for a host that is not this machine's."""
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
        return port


def usable_port(wanted: int | None) -> int:
    """The wanted port of loopback if it is free, else any free one."""
    if wanted is None:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return free_port()
        return wanted
