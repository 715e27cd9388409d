"""Take over the results of an archive (rule import_predictions)."""

import logging
from typing import TYPE_CHECKING

from fewshot.errors import UserError
from fewshot.exchange import unpack
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    if not smk.params.archive:
        raise UserError(
            "no archive named; valid: snakemake import_predictions --config archive=<file>"
        )
    done = unpack.import_archive(smk.params.archive)
    logging.info("%s: %d files placed, %d were there", done.study, done.placed, done.kept)
    study = done.configuration or "<a study whose grid names the runs>"
    print(
        f"Imported study '{done.study}': {done.placed} files, {done.kept} were there already. "
        f"Go on with: snakemake tables figures --configfile {study}"
    )


if __name__ == "__main__":
    script.run(main, snakemake)
