"""Measure latency and memory of a finished cell as deployed (rule measure_latency)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis.latency_schema import LATENCY
from fewshot.runtime import launch, locks

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    # Here, after GPUs are claimed and so that what these imports say goes to the log.
    from fewshot.exchange import latency

    p = smk.params
    with locks.alone_on_machine("latency"):
        measured = latency.measure(p.told, p.own_weights, p.rows, p.repeats, int(smk.threads))
    storage.write_table(smk.output.latency, measured, LATENCY)


if __name__ == "__main__":
    launch.run(main, snakemake)
