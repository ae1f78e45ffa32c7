"""Starts the demo: ``python serve.py [--port 8000] [--fresh]``. No keys, no internet."""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / ".asok"

WELCOME = """
  The demo of asok-auth-core is at {url}

  Try:
    1. {url}/auth/login          ask for a link; any address will do
    2. {url}/auth/dev/mailbox    read the mail and open its link, or type its code
    3. {url}/auth/login          continue with Google or GitHub, both on this machine
    4. {url}/auth/account        set up a second factor, make an API token
    5. {url}/editors             a page that asks for the permission posts.edit

  Everything lies in {data}. Ctrl-C stops the demo, --fresh begins anew.
"""


def main() -> None:
    """Serve the app of wsgi.py on loopback until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free port")
    parser.add_argument("--fresh", action="store_true", help="forget users, sessions and mails first")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(exist_ok=True)
    listener = listen(options.port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ.update(
        DEBUG="true",
        APP_URL=url,
        SECRET_KEY=secret_key(),
        DATABASE_URL=f"sqlite://{DATA.resolve() / 'demo.sqlite3'}",
        ASOK_SESSION_BACKEND="file",
    )
    os.chdir(HERE)

    import waitress
    from asok.orm import MODELS_REGISTRY
    from wsgi import app

    for model in MODELS_REGISTRY.values():
        model.create_table()
    print(WELCOME.format(url=url, data=DATA.relative_to(Path.cwd())), flush=True)
    try:
        waitress.serve(app, sockets=[listener], threads=8, ident=None)
    finally:
        app.shutdown()


def listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1: the port that was asked for, or any free one if it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
        print(f"Port {port} is taken; the demo takes {listener.getsockname()[1]} instead.")
    listener.listen(128)  # from here on a browser waits instead of being refused
    return listener


def secret_key() -> str:
    """The key of this demo, made at its first start."""
    file = DATA / "secret-key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


if __name__ == "__main__":
    main()
