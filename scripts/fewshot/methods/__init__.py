"""One module per method family, so that adding a family runs no other's jobs again.

A family that trains has two functions: `adapt(model, settings)` freezes what it does not train and
returns the names of the trainable parameters, and `draw(model, generator)` draws the initial
values of what it added to the model, anew for each seed.
"""
