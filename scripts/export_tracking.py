"""Write finished runs to an experiment tracker (rule export_tracking)."""

from typing import TYPE_CHECKING

from fewshot.analysis import evidence, result_schemas
from fewshot.exchange import tracked_runs, trackers
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    trackers.check(p.tracker)
    metrics = evidence.read_frames(smk.input.metrics, result_schemas.METRICS.names)
    costs = evidence.read_frames(smk.input.costs, result_schemas.COSTS.names)
    runs = tracked_runs.tracked_runs(p.study, p.jobs, metrics, costs, p.selection)
    print(trackers.export(p.tracker, p.study, runs, p.folder))


if __name__ == "__main__":
    script.run(main, snakemake)
