"""Train one embedded model from scratch (rule train_embedded_model)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    # Here, so that what these imports say goes to the log.
    import torch
    from fewshot.demo import pretraining, recipes

    torch.set_num_threads(smk.threads)
    recipe = recipes.RECIPES[smk.wildcards.model]
    model, tokenizer = pretraining.train(recipe, smk.params.seed)
    recipes.save_checkpoint(model, tokenizer, Path(smk.output.weights).parent)


if __name__ == "__main__":
    script.run(main, snakemake)
