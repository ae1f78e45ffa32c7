"""Start the demo, without keys or internet.

``python serve.py [--port 8000] [--fresh]``
"""

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
    1. {url}/auth/login          request a link, with any email address
    2. {url}/auth/dev/mailbox    read the email and open its link, or enter its code
    3. {url}/auth/login          continue with a local Google or GitHub
    4. {url}/editors             a page for editors; {url}/become-editor makes you one
    5. {url}/auth/account        set up a second factor; the next login can trust this browser
    6. {url}/auth/account        create an API token, then:
       curl -H "Authorization: Bearer TOKEN" {url}/api/profile

  Users, sessions, roles and emails are kept in {data}. Ctrl-C stops the demo;
  nox -s demo -- --fresh starts again without them.
"""


def main() -> None:
    """Serve the app of wsgi.py on loopback until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 picks a free one")
    parser.add_argument("--fresh", action="store_true", help="delete users and sessions first")
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
        PROVIDER_PORT=str(provider_port()),
        DATABASE_URL=f"sqlite://{DATA.resolve() / 'demo.sqlite3'}",
        ASOK_SESSION_BACKEND="file",
    )
    os.chdir(HERE)

    import waitress
    from asok.orm import MODELS_REGISTRY
    from wsgi import app

    for model in MODELS_REGISTRY.values():
        model.create_table()
    roles = MODELS_REGISTRY["Role"]
    if not roles.find(name="editor"):
        roles.create(name="editor", permissions="posts.*")
    print(WELCOME.format(url=url, data=DATA.relative_to(Path.cwd())), flush=True)
    try:
        waitress.serve(app, sockets=[listener], threads=8, ident=None)
    finally:
        app.shutdown()


def listen(port: int) -> socket.socket:
    """Listen on 127.0.0.1 at ``port``, or at any free port if it is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
        print(f"Port {port} is taken; the demo uses {listener.getsockname()[1]} instead.")
    listener.listen(128)  # from here on, a browser that connects early waits
    return listener


def provider_port() -> int:
    """The port of the local Google and GitHub, the same at each start.

    Linked logins belong to the provider's URL, so with another port they would be lost.
    """
    file = DATA / "provider-port"
    with listen(int(file.read_text()) if file.exists() else 0) as listener:
        port: int = listener.getsockname()[1]
    if not file.exists():
        file.write_text(str(port))
    return port


def secret_key() -> str:
    """The demo's secret key, created at its first start."""
    file = DATA / "secret-key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


if __name__ == "__main__":
    main()
