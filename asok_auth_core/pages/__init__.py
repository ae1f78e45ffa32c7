"""Our own pages: framework-neutral routes and Jinja2 templates."""
