"""The page file that Asok finds for our paths; patches/app.py answers instead."""
