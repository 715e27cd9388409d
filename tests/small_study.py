"""The demo as a study of seconds, for workflow tests."""

from project import Project

PAGES = {
    "figures": ["id-ood-scatter", "learning-curves", "hans-by-subcase"],
    "tables": ["headline", "comparison", "costs", "coverage"],
}
"""A figure of each part of the metrics (registry.part_of); tables with manifests and without."""


def shrink(project: Project) -> None:
    """Turn the demo into a study of seconds: one model, one task, few rows, seeds and pages."""

    def study(content):
        content.update(
            models=["opt-micro"],
            tasks=["synth-mnli"],
            seeds="8-9",
            grid=[
                {"methods": ["in-context"], "patterns": ["minimal"], "k": [0, 4]},
                {"methods": ["quick-ft", "quick-lora"], "patterns": ["minimal"], "k": [4]},
            ],
            main={"k": 4},
            **PAGES,
        )

    def tasks(content):
        content["synth-mnli"]["source"]["sizes"] = {"train": 120, "validation": 60}
        content["synth-hans"]["source"]["sizes"] = {"validation": 60}

    def methods(content):
        quick = {"epochs": 3, "curve_epochs": "each"}
        content["quick-ft"] = {"base": "tiny-pattern-ft", "title": "Fine-tuning", **quick}
        content["quick-lora"] = {"base": "tiny-lora", "title": "LoRA", **quick}

    project.edit("config/config.yaml", study)
    project.edit("config/tasks.yaml", tasks)
    project.edit("config/methods.yaml", methods)
