"""The stores that come with the core, registered as a plugin's are."""
