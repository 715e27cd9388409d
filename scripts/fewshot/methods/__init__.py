"""One module per method family, so that adding a family runs no other's jobs again.

To add one, write its module here, its entry of `study.families.FAMILIES`, and a method in
config/methods.yaml that names it; a setting that no family has yet needs an entry in
config/schema/methods.yaml besides. A module has two functions, and perhaps others:

- `adapt(model, settings)`, called once for all seeds of a job, freezes what the family does not
  train and returns the names of the trainable parameters (checked: exactly these may be trainable).
- `draw(model, generator)` draws the initial values of what it added to the model, anew for each
  seed.
- `begin(model, tokens, shot_of)`, of a family that starts from the shots, is called behind `draw`
  with the tokens of their context and the shot that each is of.
- `loss(answers)` returns each row's loss [rows] from `losses.Answers`. It belongs to a family
  whose entry lists no setting `loss`; the others are trained with one of `losses.LOSSES`.
- `penalty(model)` returns a term of the loss that depends on the weights alone, after each forward
  pass of training; it is added to every row's loss, and so counts once in their mean.
- `place(model, sources)` puts the adapters that each of several tasks has trained (setting
  `start_from`) into the model, where the family does not start from their combination; each source
  is a function from names of the language model's parameters to tensors.

A baseline's module (`Family.baseline`) has one function instead: `fit(shots, gold, labels,
settings)`, from the texts or hidden states of the shots and their labels to a `fitted.Fitted`.

All may meet a model whose weights are in shards (`deepspeed_zero.py`).

A family with the setting `initial_text` is told the texts of its cell, and whose tokenizer reads
them, in `settings["start"]` (see `study.job_inputs.JobInputs.settings`).

What stands in front of every prompt goes through one of two doors: embeddings of ids beyond the
vocabulary (`parts.virtual_ids`), or keys and values in every layer (`parts.learned_prefix`).
Training and scorer look there and need no word about a family.
"""
