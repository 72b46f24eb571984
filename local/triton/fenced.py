"""`python -m local.triton.fenced FD:PORT … -- COMMAND …`: a command whose ports only this machine reaches.

Triton's front end for Vertex AI listens on every address of the machine. So it runs in a network namespace
of its own, which has no other address than 127.0.0.1. What comes in on the sockets FD, which listen outside
of it, goes to 127.0.0.1:PORT inside. To be started in that namespace, as `Triton` does.
"""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

# <linux/if.h> and <linux/sockios.h>: netdevice(7)
_IFF_UP = 1
_SIOCSIFFLAGS = 0x8914
_CHUNK = 256 * 1024


async def run(sockets: Sequence[tuple[socket.socket, int]], command: Sequence[str]) -> int:
    """Run the command with these sockets in front of its ports; return its exit code."""
    process = await asyncio.create_subprocess_exec(*command)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, process.send_signal, number)
    for listening, port in sockets:
        await asyncio.start_server(_Relay(port).pass_on, sock=listening)
    return await process.wait()


class _Relay:
    def __init__(self, port: int) -> None:
        self._port = port

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()  # nothing listens there yet
            return
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # the other side has closed
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


def bring_up_loopback() -> None:
    """Bring up `lo`, which is down in a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))


def main(arguments: Sequence[str]) -> int:
    """Run the command of a command line."""
    end = arguments.index("--")
    pairs = [pair.split(":") for pair in arguments[:end]]
    sockets = [(socket.socket(fileno=int(number)), int(port)) for number, port in pairs]
    bring_up_loopback()
    return asyncio.run(run(sockets, arguments[end + 1 :]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
