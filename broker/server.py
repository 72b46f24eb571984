"""One broker listening on one address."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import grpc
from aiohttp import web

from broker.faults import Faults
from broker.methods import METHODS, make_methods
from broker.rest import rest_application
from broker.service import rpc_handlers
from broker.state import BrokerState
from broker.streaming_pull import StreamingPull

DEFAULT_PULL_WAIT_S = 20.0

# Well above Pub/Sub's own 10 MB, so that a request beyond it gets this broker's explanation and not gRPC's.
_MAX_RECEIVE_BYTES = 64 * 1024 * 1024
_EXPIRY_INTERVAL_S = 0.1
_STOP_GRACE_S = 0.2


class Server:
    """A broker that serves gRPC, and REST beside it. Create, start and stop it on the same event loop.

    `faults` may be used from any thread.

    Args:
        host: The address to bind.
        port: For gRPC; 0 takes any free port.
        rest_port: For REST; 0 takes any free port.
        clock: Seconds since the epoch, for publish times, ack deadlines and retention.
        pull_wait_s: How many seconds a Pull on an empty subscription waits.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        rest_port: int = 0,
        clock: Callable[[], float] = time.time,
        pull_wait_s: float = DEFAULT_PULL_WAIT_S,
    ) -> None:
        self._host = host
        self._port = port
        self._rest_port = rest_port
        self.faults = Faults(METHODS)
        self.state = BrokerState(clock, self.faults.take_duplicate)
        methods = make_methods(self.state, self.faults, pull_wait_s)
        self._rpc_handlers = rpc_handlers(
            methods.values(), StreamingPull(self.state, self.faults), self.faults
        )
        # A caller that has gone ends its Pull, as it does with gRPC.
        self._rest = web.AppRunner(
            rest_application(methods),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_STOP_GRACE_S,
        )

    @property
    def address(self) -> str:
        """`HOST:PORT` of gRPC; the port is the real one after `start`."""
        return self._at(self._port)

    @property
    def rest_url(self) -> str:
        """`http://HOST:PORT` of REST; the port is the real one after `start`."""
        return f"http://{self._at(self._rest_port)}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            OSError: An address cannot be bound. Says which.
        """
        _check_can_bind(self._host, self._port)
        _check_can_bind(self._host, self._rest_port)
        self._grpc_server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", _MAX_RECEIVE_BYTES),
                ("grpc.max_send_message_length", -1),
                # Else two brokers started at the same moment could share the port, each with half the calls.
                ("grpc.so_reuseport", 0),
                # The client library pings an idle stream every 30 s; by default gRPC cuts such a client off.
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._grpc_server.add_generic_rpc_handlers(self._rpc_handlers)
        self._port = self._grpc_server.add_insecure_port(self.address)
        await self._grpc_server.start()
        self._expiry = asyncio.create_task(self._expire())
        await self._rest.setup()
        try:
            await web.TCPSite(self._rest, self._host, self._rest_port).start()
        except OSError:
            await self.stop()
            raise
        self._rest_port = self._rest.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening, let short calls finish and cut off the rest; the state goes with this object."""
        self._expiry.cancel()
        await asyncio.gather(self._grpc_server.stop(_STOP_GRACE_S), self._rest.cleanup())

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRY_INTERVAL_S)
            self.state.expire()

    def _at(self, port: int) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{port}"


def _check_can_bind(host: str, port: int) -> None:
    """Bind and let go: gRPC reports a failure as several lines of log and an error without its cause."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}") from None
