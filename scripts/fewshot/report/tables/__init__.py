"""Every table, by name in `registry`."""
