"""Fetch again what was freed of the models that unfinished runs need (rule download)."""

from typing import TYPE_CHECKING

from fewshot.downloads import models
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    scratch, budget = smk.resources.get("scratch", ""), smk.resources.get("disk_budget_gb", 0)
    models.fetch_freed(smk.params.models, scratch, budget)


if __name__ == "__main__":
    script.run(main, snakemake, online=True)
