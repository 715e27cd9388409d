"""Show what of the disk can be freed, and free it if asked (rule clean)."""

from typing import TYPE_CHECKING

from fewshot.downloads import clean
from fewshot.errors import UserError
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    params = smk.params
    if params.delete not in ("yes", "no"):
        raise UserError(f"--config delete={params.delete}; valid: yes, no")
    runs = clean.Runs(params.study, params.runs)
    delete = params.delete == "yes"
    found = clean.clean(runs, smk.resources.get("scratch", ""), delete)
    print(clean.describe(found, delete))
    failed = [each.what for each in found if each.failed]
    if failed:
        raise UserError(f"clean: {len(failed)} of what was to go could not be removed: {failed[0]}")


if __name__ == "__main__":
    script.run(main, snakemake)
