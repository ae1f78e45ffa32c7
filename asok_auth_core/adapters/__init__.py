"""The seam to each web framework."""
