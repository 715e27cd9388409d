"""Draw the shots of one task, k and seed (rule sample_shots)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.data import shots as shots_module
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    p, named = smk.params, smk.wildcards
    texts = ["text_a", "text_b"] if "augment" in p.factors else []
    rows = storage.read_table(smk.input.train, columns=["id", "label", *texts])
    k, seed = int(named.k), int(named.seed)
    if p.factors:
        shots = shots_module.draw_changed(rows, k, p.labels, p.base, seed, p.factors)
    else:
        shots = shots_module.draw_shots(named.draw, rows, k, p.labels, p.base, seed)
    shots_module.write_draw(smk.output.shots, shots, p.factors)


if __name__ == "__main__":
    script.run(main, snakemake)
