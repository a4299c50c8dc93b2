"""``csrm evaluate``: figures of a bundle on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(
    data: Annotated[list[Path], typer.Option(help="Labelled rows (JSONL); may be given several times.")],
    bundle: Annotated[str, typer.Option(help="Name or folder of a bundle.")] = "default",
    knowledge: Annotated[
        bool,
        typer.Option(help="Tell the model what the bundle's knowledge says of each query, as in serving."),
    ] = True,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.")
    ] = None,
) -> None:
    """Measure a bundle: ROC-AUC, relevant kept and defects removed at its thresholds."""
    import json

    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from csrm.evaluation.grading import bundle_knowledge, grade_rows
    from csrm.evaluation.report import report
    from csrm.model import RelevanceModel
    from csrm.training.data import read_pairs

    files = {path: read_pairs(path) for path in data}
    rows = [row for part in files.values() for row in part]
    model = RelevanceModel.load(bundle)
    grades = grade_rows(model, rows, bundle_knowledge(model.bundle) if knowledge else None)
    irrelevance = model.irrelevance(grades)
    thresholds = np.array([model.threshold(row.locale) for row in rows])

    def figures(chosen: list[bool]) -> dict[str, Any]:
        mask = np.array(chosen)
        labels = [row.label for row, wanted in zip(rows, chosen, strict=True) if wanted]
        return report(grades[mask], irrelevance[mask], labels, thresholds[mask])

    origin = [path for path, part in files.items() for _ in part]
    result = {
        "files": {
            f"{path.parent.name}/{path.stem}": figures([source == path for source in origin])
            for path in files
        },
        "locales": {
            locale: figures([row.locale == locale for row in rows])
            for locale in sorted({row.locale for row in rows})
        },
        "all": figures([True] * len(rows)),
    }
    table = Table(
        "", "rows", "AUC E", "AUC E+S", "relevant kept", "defects removed", "at 2 % loss", title=model.name
    )
    for name, part in [*result["files"].items(), *result["locales"].items(), ("all", result["all"])]:
        cut = part["at_threshold"]
        at_2pct = part["at_2pct"]["defects_removed"]
        shown = (part["auc_e"], part["auc_es"], cut["relevant_kept"], cut["defects_removed"], at_2pct)
        table.add_row(name, str(part["n"]), *("-" if figure is None else f"{figure:.3f}" for figure in shown))
    Console().print(table)
    if json_out is not None:
        json_out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
