"""The page file that Asok finds for all of our paths; patches/app.py answers instead of it."""
