"""Write the study's in-context cells as tasks of lm-evaluation-harness (rule export_lm_eval)."""

from typing import TYPE_CHECKING

from fewshot.exchange import lm_eval_tasks
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    names = lm_eval_tasks.write_tasks(smk.output.folder, smk.params.cells)
    for name in smk.params.left_out:
        print(f"left out: method '{name}', whose prompts do not show all shots in one context")
    print(f"{len(names)} tasks; start lm_eval with --include_path . in {smk.output.folder}")


if __name__ == "__main__":
    script.run(main, snakemake)
