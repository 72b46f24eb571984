"""`python -m broker`: the broker as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import signal
import sys

from broker.server import Server
from pipeline.process.output import until_output_closes


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 0, or 2 for a wrong flag or an address in use."""
    parser = argparse.ArgumentParser(
        prog="python -m broker",
        description="An embedded Pub/Sub for one machine. State is in memory and gone at exit.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind (default %(default)s: this machine only)"
    )
    parser.add_argument(
        "--port", type=_port, default=8085, help="port, 0 for any free one (default %(default)s)"
    )
    parser.add_argument(
        "--rest-port",
        type=_port,
        default=0,
        help="port of the REST API, 0 for any free one (default %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.port == options.rest_port != 0:
        parser.error(f"--port and --rest-port are both {options.port}: gRPC and REST need one each")
    if not _is_this_machine(options.host):
        print(
            f"broker: warning: --host={options.host} opens it to other machines, and it asks nobody for a "
            "password: whoever reaches the port reads and sends messages. The default is this machine only",
            file=sys.stderr,
        )
    try:
        asyncio.run(_serve(options.host, options.port, options.rest_port))
    except OSError as error:
        print(
            f"broker: {error}. Choose another with --host, --port or --rest-port (0 takes any free one).",
            file=sys.stderr,
        )
        return 2
    return 0


async def _serve(host: str, port: int, rest_port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    server = Server(host, port, rest_port=rest_port)
    await server.start()
    # One write: a supervisor that reads the first line only may close its end right after it.
    print(
        f"broker listening on {server.address}\n"
        "state is in memory and gone at exit\n"
        f"to use it: export PUBSUB_EMULATOR_HOST={server.address}\n"
        f"REST on {server.rest_url}, for gcloud: export "
        f"CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB={server.rest_url}/ CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true",
        flush=True,
    )
    await stop.wait()
    await server.stop()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    sys.exit(until_output_closes(main))
