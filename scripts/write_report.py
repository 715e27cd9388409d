"""Write the study's report and its summary (rule write_report)."""

from typing import TYPE_CHECKING

from fewshot import records
from fewshot.analysis import evidence
from fewshot.report import report
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, files = smk.params, smk.input
    study = report.Study(
        settings=p.study,
        catalog=p.catalog,
        figures=p.figures,
        tables=p.tables,
        evidence=evidence.read_evidence(**evidence.parts_of(files)),
        specs={
            name: records.read_json(path)
            for name, path in zip(p.figures, files.figures, strict=True)
        },
        models=[records.read_json(path) for path in files.models],
        sources=[records.read_json(path) for path in files.sources],
        files=evidence.parts_of(files),
        versions=p.versions,
    )
    report.write(study, smk.output.report, smk.output.summary)


if __name__ == "__main__":
    script.run(main, snakemake)
