"""The demo app. Your own app needs only the registration in the last line."""

from __future__ import annotations

import os

from asok import Asok
from asok_auth_dev.provider import DevProvider

from asok_auth_core import AuthExtension

app = Asok(os.path.dirname(os.path.abspath(__file__)))
app.config["TOOLBAR"] = False
app.config["RATE_LIMIT"] = False  # Asok's 100 requests a minute; our own limits stay on

# For the demo only: a local Google and GitHub, and a local mail server.
port = int(os.environ["PROVIDER_PORT"])
local = DevProvider(os.environ["APP_URL"], debug=app.config["DEBUG"], port=port).start()

app.config["AUTH"] = {
    "APP_NAME": "the demo",
    "MAIL_TRANSPORT": "dev",
    "PROVIDERS": local.settings(),
    "TRUSTED_DEVICE": 30 * 86_400,
}
app.register_extension(AuthExtension())
