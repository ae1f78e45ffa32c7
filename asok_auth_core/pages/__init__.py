"""The core's pages: framework-neutral routes and Jinja2 templates."""
