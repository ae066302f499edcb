"""Patience with a hub: short where none answers, and gone with its context."""

from __future__ import annotations

import socket
from threading import Thread

import pytest
from huggingface_hub import constants

from captum_sing.hub import quick_when_offline


def test_patience_ends_with_its_context(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ZeroDivisionError), quick_when_offline():
        assert constants.HF_HUB_OFFLINE and socket.getdefaulttimeout()
        raise ZeroDivisionError
    assert not constants.HF_HUB_OFFLINE and socket.getdefaulttimeout() is None


def test_a_hub_that_answers_is_used(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        port = server.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")

        def answer():
            with server.accept()[0] as client:
                client.recv(1000)
                client.sendall(b"HTTP/1.0 503 Busy\r\n\r\n")

        thread = Thread(target=answer)
        thread.start()
        with quick_when_offline():
            assert not constants.HF_HUB_OFFLINE
        thread.join()
