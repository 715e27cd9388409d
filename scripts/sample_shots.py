"""Draw the shots of one task, k and seed (rule sample_shots)."""

from typing import TYPE_CHECKING

from fewshot import records
from fewshot.data import draws
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    rows = records.read_table(smk.input.train, columns=["id", "label"])
    named = smk.wildcards
    shots = draws.draw_shots(
        named.draw, rows, int(named.k), smk.params.labels, named.task, int(named.seed)
    )
    checksum = records.frame_checksum(shots.itertuples(index=False))
    records.write_table(smk.output.shots, shots, records.SHOTS, checksum=checksum)


if __name__ == "__main__":
    script.run(main, snakemake)
