"""Draw the shots of one task, k and seed (rule sample_shots)."""

from typing import TYPE_CHECKING

from fewshot import records, sampling

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    rows = records.read_table(smk.input.train, columns=["id", "label"])
    k, seed = int(smk.wildcards.k), int(smk.wildcards.seed)
    shots = sampling.draw_balanced(rows, k, smk.params.labels, smk.wildcards.task, seed)
    checksum = records.frame_checksum(shots.itertuples(index=False))
    records.write_table(smk.output.shots, shots, records.SHOTS, checksum=checksum)


if __name__ == "__main__":
    records.run(main, snakemake)
