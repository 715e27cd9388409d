"""Write results for the Hub and in the schema of Every Eval Ever (rule export_results)."""

from typing import TYPE_CHECKING

from fewshot.analysis import evidence, result_schemas
from fewshot.errors import UserError
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    # Here, since huggingface_hub looks at the environment when it is imported.
    from fewshot.exchange import results
    from fewshot.exchange.shared_results import Context

    p, out = smk.params, smk.output
    if p.with_rows not in ("yes", "no"):
        raise UserError(f"--config rows={p.with_rows}; valid: yes, no")
    context = Context(p.study, p.catalog, p.sources, p.organization, p.source)
    metrics = evidence.read_frames(smk.input.metrics, result_schemas.METRICS.names)
    rows = p.sets if p.with_rows == "yes" else None
    told = results.write(out.hub, out.shared, context, metrics, p.jobs, rows)
    print(f"{told.cells} cells in {out.shared} and {out.hub}")
    if told.without:
        print(f"left out: {told.without} cells without a result or a language model")
    if told.not_on_hub:
        print(f"left out for the Hub: {told.not_on_hub} results on sets that are not from it")
    if not p.organization:
        print("the organization is given as 'unknown'; name it with --config organization='…'")


if __name__ == "__main__":
    script.run(main, snakemake)
