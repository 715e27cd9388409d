"""Load a model, name its parts, know its shape."""
