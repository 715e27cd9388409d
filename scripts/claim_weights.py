"""See that an adaptation job will find its model's weights (rule claim_weights)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot import presence, records

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk) -> None:
    manifest = records.read_json(smk.input.manifest)
    if not presence.is_whole(smk.input.marker, manifest):
        # They were freed, or lost since the workflow started.
        from fewshot import snapshots

        scratch, budget = smk.resources.get("scratch", ""), smk.resources.get("disk_budget_gb", 0)
        snapshots.fetch_weights(smk.input.manifest, smk.input.marker, scratch, budget)
    with records.atomic(smk.output.claim) as partial:
        Path(partial).touch()


if __name__ == "__main__":
    records.run(main, snakemake, online=True)
