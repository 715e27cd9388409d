"""Render one figure in every format (rule render_figure)."""

from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.report import render
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    paths = {kind: getattr(smk.output, kind) for kind in ("svg", "pdf", "png", "html")}
    render.render(storage.read_json(smk.input.spec), paths)


if __name__ == "__main__":
    script.run(main, snakemake)
