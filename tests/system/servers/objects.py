"""S3-compatible storage on a free port of the loopback interface: `python -m tests.system.servers.objects`.

Moto, in memory. It ends when its standard input does. Standard output: "port N".
"""

import logging
import threading

from moto.server import ThreadedMotoServer

from tests.system.servers.enclosed import end_with_input


def main() -> None:
    """Serve until standard input ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    end_with_input()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    print("port", port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
