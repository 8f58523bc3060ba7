"""A TCP port for a job whose nodes meet at one: none that another job, or any other program, has."""

import socket


def reserve_port() -> socket.socket:
    """A socket that keeps a free port of all addresses for a server that is yet to start, until it is closed.

    The socket is bound and does not listen. So the system gives its port to nobody who asks for any port, nor
    for this one, but for servers that allow an address to be used again (SO_REUSEADDR), as torchrun's does:
    between the choice and the server's start there is no moment at which another job could take it.
    """
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    kept = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            kept.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("", 0))
    except OSError:
        kept.close()
        raise
    return kept


def port_of(kept: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(kept.getsockname()[1])
