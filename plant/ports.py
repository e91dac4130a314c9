"""Free loopback ports, for servers that cannot say which port 0 gave them."""

import socket


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free a moment ago.

    Another process may take it before the caller binds it; callers report that
    as a failed start.
    """
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
