"""Compare fine-tuning with in-context learning on one task (rule compare_methods)."""

from typing import TYPE_CHECKING

from fewshot import records
from fewshot.analysis import comparison, evaluation, evidence, schemas, variation
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, files = smk.params, smk.input
    sets = [
        evaluation.read_set(item["set"], item["merge"], path)
        for item, path in zip(p.evaluation, files.evaluation, strict=True)
    ]
    metrics = evidence.read_frames(files.metrics, schemas.METRICS.names)
    outcomes = evidence.read_frames(files.outcomes, schemas.OUTCOMES.names)
    compared = comparison.compare(metrics, outcomes, sets, p.catalog)
    records.write_table(smk.output.comparisons, compared, schemas.COMPARISONS)
    split = variation.split_variance(metrics, outcomes, sets)
    records.write_table(smk.output.variance, split, schemas.VARIANCE)


if __name__ == "__main__":
    script.run(main, snakemake)
