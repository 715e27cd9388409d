"""Print every installed package with its version and the licence that it states."""

from importlib.metadata import distributions

LONGEST = 60
"""Characters of a licence that are shown: some packages state the whole text."""


def licence(metadata) -> str:
    """Return what a package's metadata says: an SPDX expression, else classifiers, else a text."""
    named = [line.split(" :: ") for line in metadata.get_all("Classifier", [])]
    classified = [parts[-1] for parts in named if parts[0] == "License" and len(parts) > 2]
    told = metadata["License-Expression"] or ", ".join(classified) or metadata["License"] or ""
    return " ".join(told.split())[:LONGEST] or "not stated"


def main() -> None:
    """Print a line for each package: name, version, licence."""
    found = {each.metadata["Name"]: each for each in distributions()}
    width = max(map(len, found))
    for name in sorted(found, key=str.lower):
        print(f"{name:{width}}  {found[name].version:16}  {licence(found[name].metadata)}")


if __name__ == "__main__":
    main()
