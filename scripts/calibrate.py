"""Learn from finished jobs how long the next ones take (rule calibrate)."""

from typing import TYPE_CHECKING

from fewshot.planning import calibration, finished
from fewshot.planning.memory_plan import MemoryPlan
from fewshot.runtime import script
from fewshot.study.study import Study

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    jobs, left_out = finished.gather(MemoryPlan(Study(**smk.params.study)))
    found = calibration.fit(jobs)
    calibration.write(found)
    print(finished.report(found, jobs, left_out))


if __name__ == "__main__":
    script.run(main, snakemake)
