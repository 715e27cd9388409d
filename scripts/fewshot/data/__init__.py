"""From raw rows to prepared rows and draws of shots."""
