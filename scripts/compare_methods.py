"""Compare fine-tuning with in-context learning on one task (rule compare_methods)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import (
    comparisons,
    contrasts,
    draws,
    evidence,
    result_schemas,
    scored_sets,
    statistics_schemas,
    variance,
)
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, files = smk.params, smk.input
    draws.check_draws(files.manifests)
    sets = scored_sets.read_sets(p.evaluation, files.evaluation)
    metrics = evidence.read_frames(files.metrics, result_schemas.METRICS.names)
    outcomes = evidence.read_frames(files.outcomes, result_schemas.OUTCOMES.names)
    (own, *others) = (
        (metrics[metrics["task"] == task], outcomes[outcomes["task"] == task]) for task in p.orders
    )
    compared = comparisons.compare(*own, sets, p.catalog)
    storage.write_table(smk.output.comparisons, compared, statistics_schemas.COMPARISONS)
    asked = contrasts.contrasts(*own, sets, p.catalog)
    storage.write_table(smk.output.contrasts, asked, statistics_schemas.CONTRASTS)
    split = variance.split_variance(*own, sets, others)
    storage.write_table(smk.output.variance, split, statistics_schemas.VARIANCE)


if __name__ == "__main__":
    script.run(main, snakemake)
