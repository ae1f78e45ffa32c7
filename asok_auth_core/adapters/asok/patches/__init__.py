"""Every change to Asok's own behavior, one module per part of Asok."""
