"""One module per method family, so that adding a family runs no other's jobs again.

To add one, write its module here, its entry of `study.families.FAMILIES`, and a method in
config/methods.yaml that names it; a setting that no family has yet needs an entry in
config/schema/methods.yaml besides. A module has two functions, and perhaps a third:

- `adapt(model, settings)`, called once for all seeds of a job, freezes what the family does not
  train and returns the names of the trainable parameters (checked: exactly these may be trainable).
- `draw(model, generator)` draws the initial values of what it added to the model, anew for each
  seed.
- `begin(model, tokens, shot_of)`, of a family that starts from the shots, is called behind `draw`
  with the tokens of their context and the shot that each is of.
- `loss(answers)` returns each row's loss [rows] from `losses.Answers`. It belongs to a family
  whose entry lists no setting `loss`; the others are trained with one of `losses.LOSSES`.

A baseline's module (`Family.baseline`) has one function instead: `fit(shots, gold, labels,
settings)`, from the texts or hidden states of the shots and their labels to a `fitted.Fitted`.

All may meet a model whose weights are in shards (`deepspeed_zero.py`).

A family that starts from more than the base model, from adapters of another run or with a teacher,
names them in its settings: `adapt` finds them there and puts them into the model, `draw` may start
from them, and `loss` may ask a teacher about the `ids` that the model in training has read.

A family with the setting `initial_text` is told the texts of its cell, and whose tokenizer reads
them, in `settings["start"]` (see `study.job_inputs.JobInputs.settings`).

What stands in front of every prompt goes through one of two doors: embeddings of ids beyond the
vocabulary (`parts.virtual_ids`), or keys and values in every layer (`parts.learned_prefix`).
Training and scorer look there and need no word about a family.
"""
