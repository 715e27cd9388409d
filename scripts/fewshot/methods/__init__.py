"""One module per method family, so that adding a family runs no other's jobs again.

A family that trains has two functions: `adapt(model, settings)` freezes what it does not train and
returns the names of the trainable parameters (checked: exactly these may be trainable), and
`draw(model, generator)` draws the initial values of what it added to the model, anew for each seed.
Both may meet a model whose weights are in shards (`deepspeed_zero.py`).

What stands in front of every prompt goes through one of two doors: embeddings of ids beyond the
vocabulary (`parts.virtual_ids`), or keys and values in every layer (`parts.learned_prefix`).
Training and scorer look there and need no word about a family.
"""
