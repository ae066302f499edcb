"""Giving up a hub that cannot be reached, in seconds rather than minutes."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quick_when_offline"]

_PATIENCE = 10.0  # seconds that a connection may take


@contextmanager
def quick_when_offline() -> Iterator[None]:
    """Within this context, without a connection, downloads fail soon and caches are used at once.

    Left alone, the hub's client tries each file again and again, for most of a minute, also where
    the weights are in its cache; other downloads wait for as long as the system does.
    """
    from huggingface_hub import constants

    offline, patience = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    constants.HF_HUB_OFFLINE = offline or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        socket.setdefaulttimeout(patience)


def _reachable(address: str) -> bool:
    """Whether anything answers; what it is, the client itself will check."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
