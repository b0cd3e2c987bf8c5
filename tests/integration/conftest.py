# SPDX-License-Identifier: Apache-2.0
import pytest

from harness import RETORTD, Server


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


@pytest.fixture
def start(tmp_path):
    """Starts servers that end, cleanly, with the test."""
    servers = []

    def starter(**kw):
        server = Server(tmp_path, **kw)
        servers.append(server)
        server.start()
        return server

    yield starter
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for a file of tests that do not disturb each other."""
    if not RETORTD.exists():
        pytest.skip(f"{RETORTD} is not built")
    s = Server(tmp_path_factory.mktemp("server"))
    s.start()
    yield s
    s.stop()


@pytest.fixture
def client(server):
    return server.client


def pytest_make_parametrize_id(config, val, argname):
    """Names of tests that fit on a line, whatever the values are."""
    text = val.decode("latin-1") if isinstance(val, bytes) else val if isinstance(val, str) else None
    if text is None:
        return None
    return "".join(c if "!" <= c <= "~" and c not in "[]" else "." for c in text[:40]) or "empty"
