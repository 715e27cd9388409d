"""Every figure, by name in `registry`."""
