"""``asok-auth new-plugin``"""


def new_plugin() -> None:
    """Write a plugin."""
