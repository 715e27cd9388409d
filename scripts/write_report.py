"""Write the study's report and its summary (rule write_report)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.analysis import evidence
from fewshot.report import report
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, files = smk.params, smk.input
    study = report.ReportInputs(
        settings=p.study,
        catalog=p.catalog,
        figures=p.figures,
        tables=p.tables,
        evidence=evidence.read_evidence(**evidence.evidence_inputs(files)),
        specs={
            name: storage.read_json(path)
            for name, path in zip(p.figures, files.figures, strict=True)
        },
        models=[storage.read_json(path) for path in files.models],
        sources=[storage.read_json(path) for path in files.sources],
        held_out=[storage.read_json(path) for path in files.held_out],
        files={**evidence.evidence_inputs(files), "held_out": list(map(str, files.held_out))},
        versions=p.versions,
    )
    report.write_report(study, smk.output.report, smk.output.summary)


if __name__ == "__main__":
    script.run(main, snakemake)
