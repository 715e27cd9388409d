"""Draw the shots of one task, k and seed (rule sample_shots)."""

from typing import TYPE_CHECKING

from fewshot import schemas, storage
from fewshot.data import shots as shots_module
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    rows = storage.read_table(smk.input.train, columns=["id", "label"])
    named = smk.wildcards
    shots = shots_module.draw_shots(
        named.draw, rows, int(named.k), smk.params.labels, named.task, int(named.seed)
    )
    checksum = storage.frame_checksum(shots.itertuples(index=False))
    storage.write_table(smk.output.shots, shots, schemas.SHOTS, checksum=checksum)


if __name__ == "__main__":
    script.run(main, snakemake)
