"""Say what one model makes of a task's bias probes (rule measure_bias)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import bias, result_schemas, scored_sets
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    probes = scored_sets.read_probes(p.evaluation, smk.input.evaluation)
    metrics = storage.read_table(smk.input.metrics)
    found = bias.measure_bias(metrics, p.jobs, probes, p.catalog)
    storage.write_table(smk.output.bias, found, result_schemas.BIAS)


if __name__ == "__main__":
    script.run(main, snakemake)
