# Which paths and targets there are where another workflow uses this one as a module.
import sys
from pathlib import Path

# By its own name, since the workflow that uses this one as a module may have a folder scripts/ too;
# and last, since that may have modules of the same names as scripts here.
sys.path.append(str(Path(workflow.snakefile).parents[1] / "scripts"))

from fewshot.validation import CONFIG

# Whether another workflow uses this one as a module, and the prefix that it gives to paths of rules.
MODULE = Path(workflow.basedir).resolve() != CONFIG.parent


# Snakemake takes a word that is no rule for a file. All files here are in a folder or have an
# extension, so a word without both is a misspelt target. Another workflow may have such files.
rule unknown_target:
    input:
        lambda w: nearest_target(w),
    output:
        "{target}",
    wildcard_constraints:
        target="(?!)" if MODULE else "[A-Za-z0-9_-]+",


PREFIX = rules.unknown_target.output[0].removesuffix("{target}")
