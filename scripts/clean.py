"""Show which states of jobs no job needs any more, and remove them if asked (rule clean)."""

from typing import TYPE_CHECKING

from fewshot.downloads import clean, disk
from fewshot.errors import UserError
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    params = smk.params
    if params.delete not in ("yes", "no"):
        raise UserError(f"--config delete={params.delete}; valid: yes, no")
    delete = params.delete == "yes"
    with disk.naming("clean"):
        states = clean.find_states(params.study, params.runs)
        if delete:
            clean.remove_states(states)
    print(clean.describe(states, delete))


if __name__ == "__main__":
    script.run(main, snakemake)
