"""Who may connect to the workers of a batch, and over what."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from distributed import Client

from vmmlab.base.errors import UsageError
from vmmlab.classroom.batch import cluster


@pytest.mark.parametrize(
    "address", ["tls://10.1.2.3:8786", "tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:1"]
)
def test_safe_addresses(address: str) -> None:
    cluster.must_be_safe(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://10.1.2.3:8786",
        "tcp://example.org:1",
        "ws://127.0.0.1:1",
        "tcp://127.0.0.1.evil.org:1",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="not be encrypted"):
        cluster.must_be_safe(address)


def test_a_scheduler_file_names_the_address(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tls://10.0.0.1:1"}))
    assert cluster.address_of(str(file)) == "tls://10.0.0.1:1"
    for text in ("{}", "[]", "no", '{"address": 1}'):
        file.write_text(text)
        with pytest.raises(UsageError, match="no address"):
            cluster.address_of(str(file))
    with pytest.raises(UsageError, match="not the address"):
        cluster.address_of(str(tmp_path / "none"))


def test_an_embedded_cluster_is_closed_to_others() -> None:
    with cluster.embedded(1) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        me = psutil.Process()
        heard = [
            one.laddr.ip
            for process in (me, *me.children(recursive=True))
            for one in process.net_connections(kind="inet")
            if one.status == psutil.CONN_LISTEN
        ]
        assert set(heard) == {"127.0.0.1"}
        with pytest.raises((OSError, TypeError)):
            Client(address, timeout=2)
        with pytest.raises((OSError, TimeoutError)):
            Client(address.replace("tls", "tcp"), timeout=2)
