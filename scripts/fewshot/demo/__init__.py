"""The tiny models of the demo: made, trained and measured."""
