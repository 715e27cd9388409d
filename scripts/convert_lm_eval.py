"""Write logs of lm-evaluation-harness as an archive to import (rule convert_lm_eval)."""

from typing import TYPE_CHECKING

from fewshot.exchange import lm_eval_runs
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p = smk.params
    lm_eval_runs.convert_logs(smk.output.archive, p.study, p.runs, p.code)
    folders = [run["folder"] for run in p.runs]
    print(
        f"{len(folders)} runs in {smk.output.archive}, the first one is {folders[0]}. "
        f"Go on with: snakemake import_predictions --config archive={smk.output.archive}"
    )


if __name__ == "__main__":
    script.run(main, snakemake)
