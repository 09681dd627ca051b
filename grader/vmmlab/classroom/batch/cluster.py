"""The Dask cluster of a batch: an embedded one, or the one at an address.

The embedded one listens on the loopback interface alone, and admits only holders of the certificate
that was made for it: otherwise any user of the host could run programs as this one. A cluster
elsewhere must speak TLS. No web page is served unless asked for, and then on the loopback
interface.

Source: https://distributed.dask.org/en/stable/tls.html
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import dask
from distributed import Client, LocalCluster
from distributed.security import Security

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import msg

LOOPBACK: Final = "127.0.0.1"
_CONNECT_S: Final = 30
_CONFIG: Final = {
    "distributed.worker.profile.enabled": False,  # no job runs in the worker itself
    "distributed.worker.http.routes": [],
    "distributed.scheduler.allowed-failures": 2,
    "distributed.admin.log-format": "%(levelname)s %(message)s",
}
_SCHEDULER_PAGES: Final = "distributed.scheduler.http.routes"


@contextlib.contextmanager
def embedded(workers: int, *, dashboard: bool = False) -> Iterator[Client]:
    """Provide a client of a new cluster on this host, which ends with the block.

    Args:
        workers: how many processes that grade one submission at a time each.
        dashboard: serve Dask's pages on the loopback interface.

    Raises:
        InfraError: it does not start.
    """
    pages: dict[str, Any] = {} if dashboard else {_SCHEDULER_PAGES: []}
    with dask.config.set({**_CONFIG, **pages}), contextlib.ExitStack() as stack:
        try:
            with _deaf():
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        host=LOOPBACK,
                        protocol="tls://",
                        security=Security.temporary(),
                        memory_limit=0,
                        silence_logs=logging.CRITICAL,
                        dashboard_address=f"{LOOPBACK}:0",
                        scheduler_kwargs={"dashboard": dashboard},
                    )
                )
            client = stack.enter_context(Client(cluster))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise InfraError(
                msg("the workers of this host could not be started."), found=str(error)
            ) from None
        yield client


@contextlib.contextmanager
def connected(scheduler: str, tls: Sequence[Path] = ()) -> Iterator[Client]:
    """Provide a client of a running cluster.

    Args:
        scheduler: its address, or the file that `dask scheduler --scheduler-file` wrote.
        tls: files in PEM format: the authority's certificate, one's own, and its key.

    Raises:
        UsageError: the address cannot be read, or is neither of TLS nor of this host.
        InfraError: it cannot be reached.
    """
    address = address_of(scheduler)
    security = _security(tls)
    must_be_safe(address)
    with dask.config.set(_CONFIG):
        try:
            client = Client(address, security=security, timeout=_CONNECT_S)
        except (OSError, TimeoutError, TypeError, ValueError) as error:
            raise InfraError(
                msg("the scheduler at {address} does not answer.", address=address),
                found=str(error) or type(error).__name__,
                next_step=msg("start it, or leave --scheduler out to grade on this host"),
            ) from None
        with client:
            yield client


def address_of(scheduler: str) -> str:
    """Return the address of a scheduler.

    Args:
        scheduler: the address, or the file that holds it.

    Raises:
        UsageError: it is neither.
    """
    if "://" in scheduler:
        return scheduler
    expected = msg("tls://HOST:PORT, or the file of `dask scheduler --scheduler-file FILE`")
    try:
        found = json.loads(Path(scheduler).read_bytes())["address"]
    except OSError as error:
        raise UsageError(
            msg("{scheduler} is not the address of a scheduler.", scheduler=scheduler),
            expected=expected,
            found=os_reason(error),
        ) from None
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise UsageError(
            msg("{scheduler}: no address of a scheduler is in this file.", scheduler=scheduler),
            expected=expected,
        )
    return found


def must_be_safe(address: str) -> None:
    """Raise UsageError unless an address is of TLS, or of the loopback interface."""
    parts = urlsplit(address)
    if parts.scheme == "tls":
        return
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        if parts.scheme == "tcp" and (
            host == "localhost" or ipaddress.ip_address(host).is_loopback
        ):
            return
    raise UsageError(
        msg("the connection to {address} would not be encrypted.", address=address),
        expected=msg("tls://HOST:PORT; submissions and grades go over it, and programs"),
        next_step=msg(
            "give the scheduler and the workers certificates, and add --tls CA,CERT,KEY here"
        ),
    )


def _security(tls: Sequence[Path]) -> Security | None:
    """Return the certificates of the command; None for those of Dask's own configuration."""
    if not tls:
        return None
    if len(tls) != 3:
        raise UsageError(
            msg("--tls names {count} files.", count=len(tls)),
            expected=msg("three: the authority's certificate, your certificate, its key"),
        )
    for path in tls:
        if not path.is_file():
            raise UsageError(msg("{path}: there is no such file.", path=path))
    ca, cert, key = map(os.fspath, tls)
    return Security(
        tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True
    )


def threads(client: Client) -> dict[str, int]:
    """Return how many jobs each worker takes at a time, by address."""
    workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return {address: int(one["nthreads"]) for address, one in workers.items()}


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that start meanwhile ignore Ctrl-C: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
