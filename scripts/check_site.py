"""Compare the facts of a cluster with what SLURM says (rule check_site)."""

from typing import TYPE_CHECKING

from fewshot.errors import UserError
from fewshot.planning.requests import ATTEMPTS
from fewshot.runtime import script, site_checks
from fewshot.runtime.site import read_site

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    params = smk.params
    if not params.site:
        raise UserError("no cluster is named; valid: snakemake check_site --profile slurm")
    site = read_site(params.site)
    problems, warnings = site_checks.check_start(site, params.requests, ATTEMPTS, params.longest)
    for line in warnings:
        print(f"warning: {line}")
    if problems:
        raise UserError("\n".join(problems))
    print(f"{site.path}: SLURM agrees, and takes jobs of all {len(params.requests)} shapes")


if __name__ == "__main__":
    script.run(main, snakemake)
