"""A program in a network of its own, reached through one port of loopback: `python -m tests.system.servers.enclosed ...`.

Milvus 2.3 listens on all addresses whatever its configuration says. Here that is the loopback device of a network
namespace, which nothing outside reaches, where its ports can clash with nobody's. This process stands between: its
listening socket was made before it left for the namespace and stays what it was. It ends when its standard input does,
and so with whoever holds the other end; the program ends with it, however it dies. Killing this process is killing the
server.

Standard output: "port N" at once, "ready" when the program's health page says so.
"""

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_BUFFER_BYTES = 1 << 20


def end_with_parent() -> None:
    """Have this process killed when the thread that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_input() -> None:
    """End this process when its standard input does; unlike `end_with_parent`, it may have been started by any thread."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def enter_own_network() -> None:
    """Leave for a network namespace that holds nothing but its loopback device.

    Raises:
        OSError: The kernel does not let us, as in many containers.
    """
    user = os.getuid()
    if _LIBC.unshare(_CLONE_NEWNET) and _LIBC.unshare(_CLONE_NEWUSER | _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network namespace can be made")
    if os.getuid() != user:  # the new user namespace knows nobody yet
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request.ljust(40, b"\0")), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | _IFF_UP).ljust(40, b"\0"))


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Carry one connection to `port` of the namespace, until either side has enough."""
    to_program: asyncio.StreamWriter | None = None
    try:
        from_program, to_program = await asyncio.open_connection("127.0.0.1", port, limit=_BUFFER_BYTES)
        await asyncio.gather(_copy(reader, to_program), _copy(from_program, writer))
    except OSError:
        pass  # refused or reset: the other side sees its connection end
    finally:
        for end in (writer, to_program):
            if end is not None:
                end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_BUFFER_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.write_eof()


def _tell_when_ready(program: "subprocess.Popen[bytes]", health: str) -> None:
    while program.poll() is None and not _is_healthy(health):
        time.sleep(0.1)
    if program.poll() is None:
        print("ready", flush=True)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return b"OK" in page.read()
    except (urllib.error.URLError, OSError):
        return False


async def _serve(listening: socket.socket, port: int, health: str, program: "subprocess.Popen[bytes]") -> int:
    """Relay until the program ends; its exit code."""
    server = await asyncio.start_server(lambda r, w: _relay(r, w, port), sock=listening, limit=_BUFFER_BYTES)
    async with server:
        await asyncio.to_thread(_tell_when_ready, program, health)
        return await asyncio.to_thread(program.wait)


def main() -> None:
    """Listen, enclose, run the program, relay."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0, help="of loopback, outside; 0 is any")
    parser.add_argument("--inner-port", type=int, required=True, help="where the program listens, inside")
    parser.add_argument("--health", required=True, help="URL of a page that says OK, inside")
    parser.add_argument("program", nargs="+")
    arguments = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", arguments.port))
    try:
        enter_own_network()
    except OSError as error:
        sys.exit(str(error))
    program = subprocess.Popen(
        arguments.program,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        preexec_fn=end_with_parent,  # noqa: PLW1509
    )
    end_with_input()
    print("port", listening.getsockname()[1], flush=True)
    sys.exit(asyncio.run(_serve(listening, arguments.inner_port, arguments.health, program)))


if __name__ == "__main__":
    main()
