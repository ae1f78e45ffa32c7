"""The demo app. What an app of your own needs is the last five lines."""

from __future__ import annotations

import os

from asok import Asok
from asok_auth_dev.provider import DevProvider

from asok_auth_core import AuthExtension

app = Asok(os.path.dirname(os.path.abspath(__file__)))
app.config["TOOLBAR"] = False
app.config["RATE_LIMIT"] = False  # of 100 requests a minute; ours are counted where they matter

# Only a demo has its Google, its GitHub and its mail server on the same machine.
local = DevProvider(os.environ["APP_URL"], debug=app.config["DEBUG"]).start()

app.config["AUTH"] = {
    "APP_NAME": "the demo",
    "MAIL_TRANSPORT": "dev",
    "PROVIDERS": local.settings(),
}
app.register_extension(AuthExtension())
