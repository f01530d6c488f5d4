"""report.md and report.json of a run: the same record gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expnet_tf.evaluate.report_measures import calibration, contrasts, robustness
from expnet_tf.evaluate.run import AS_GIVEN, CLIP, STANDARDISED
from expnet_tf.evaluate.tables import percent, table
from expnet_tf.facejson import dumps
from expnet_tf.files import write_whole

Record = Mapping[str, Any]


def write(out: Path, record: Record) -> None:
    """Write `out`/report.json and `out`/report.md."""
    write_whole(out / "report.json", dumps(record).encode("ascii"))
    write_whole(out / "report.md", (markdown(record) + "\n").encode())


def markdown(record: Record) -> str:
    """The report as Markdown, from the record alone."""
    parts = [
        f"# Emotions read from expressions: {record['data']['path']}",
        _data(record["data"]),
        _protocol(record),
        _accuracy(record),
        _pictures(record, "curves"),
        _standardised(record),
        _paired(record["paired"]),
        "## Confusions\n\nRows are true classes, in percent of their clips.",
        _pictures(record, "confusion"),
        _abstentions(record["results"]),
        _groups(record["groups"]),
        contrasts(record.get("contrasts", [])),
        calibration(record.get("calibration", [])),
        robustness(record.get("robustness", [])),
        _failures(record["failures"]),
        "## Faces" if any(picture["kind"] == "sheet" for picture in record.get("pictures", [])) else "",
        _pictures(record, "sheet"),
        "Times by stage, which differ from run to run, are in runtime.md and runtime.json.",
    ]
    return "\n\n".join(part for part in parts if part)


def _data(data: Record) -> str:
    people = "unknown subjects" if data["subjects"] is None else f"{data['subjects']} subjects"
    counts = ", ".join(f"{name} {count}" for name, count in data["classes"].items())
    lines = [f"{data['kind']}: {data['clips']} clips ({counts}), {data['images']} images, {people}."]
    lines += [f"- {note}" for note in [*data["notes"], *_some(data["unreadable"])]]
    return "\n".join([lines[0], "", *lines[1:]]).rstrip()


def _some(sentences: Sequence[str], most: int = 20) -> list[str]:
    more = [f"{len(sentences) - most} more could not be read; report.json has them."] if len(sentences) > most else []
    return [*sentences[:most], *more]


def _protocol(record: Record) -> str:
    p = record["protocol"]
    methods = "\n".join(f"- **{m['name']}**: codes of {m['space']} (`{m['id']}`)" for m in record["methods"])
    return (
        "## How it was measured\n\n"
        f"Each image is scaled down first, then the face is found ({p['detector']}) and coded; a clip's code is the "
        f"mean over its images. The {p['neighbours']} nearest neighbours by {p['distance']} distance vote; codes are "
        "taken as given. A clip without a code counts as an error and is nobody's neighbour. *Box given*: the box of "
        "the data, or else the one detected at scale 1, is carried over to each scale. *End to end*: the detector "
        f"works at that scale. Brackets: 95% intervals, bootstrap over {p['intervals over']}. Always naming the most "
        f"frequent class is right in {100 * p['most frequent class']:.1f}%. docs/evaluation.md has the details.\n\n"
        f"{methods}"
    )


def _accuracy(record: Record) -> str:
    parts = ["## Accuracy, %"]
    for protocol in record["protocol"]["protocols"]:
        paper = " (the paper's protocol)" if protocol == CLIP else " (stricter)"
        parts.append(f"### {protocol[0].upper()}{protocol[1:]}{paper}")
        parts += _tables(record, protocol, AS_GIVEN, percent)
    return "\n\n".join(parts)


def _tables(record: Record, protocol: str, scaling: str, text: Any) -> list[str]:
    """A table a setting: methods by scales."""
    p, parts = record["protocol"], []
    for setting in p["settings"]:
        rows = []
        for method in record["methods"]:
            here = {
                row["scale"]: row
                for row in record["results"]
                if (row["method"], row["setting"], row["protocol"], row["scaling"])
                == (method["name"], setting, protocol, scaling)
            }
            if here:
                rows.append([method["name"], *(text(here[s]) if s in here else "" for s in p["scales"])])
        parts.append(table([f"{setting}, scale", *(f"{scale:g}" for scale in p["scales"])], rows))
    return parts


def _standardised(record: Record) -> str:
    parts = [
        "### With standardised codes",
        "Each dimension is divided by its standard deviation over the other clips; "
        f"{record['protocol']['protocols'][-1]}. Beside the figures above, not instead of them: it shows what the "
        "units of a code do.",
    ]
    return "\n\n".join([*parts, *_tables(record, record["protocol"]["protocols"][-1], STANDARDISED, percent)])


def _paired(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    scales = sorted({row["scale"] for row in rows}, reverse=True)
    parts = [
        f"## {rows[0]['first']} against the others, on the same clips",
        "Points more; how many clips it alone, and the other alone, has right; p of the exact McNemar test on those, "
        "not corrected for the number of tests. Brackets as above.",
    ]
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        lines: dict[tuple[str, str], dict[float, str]] = {}
        for row in rows:
            if row["protocol"] == protocol:
                low, high = (100 * end for end in row["interval"])
                p = "< 0.001" if row["p"] < 0.001 else f"= {row['p']:.3f}"
                lines.setdefault((row["second"], row["setting"]), {})[row["scale"]] = (
                    f"{100 * row['difference']:+.1f} [{low:+.1f}, {high:+.1f}], {row['first alone right']} : "
                    f"{row['second alone right']}, p {p}"
                )
        cells = [[f"{who}, {setting}", *(line.get(s, "") for s in scales)] for (who, setting), line in lines.items()]
        parts.append(table([f"{protocol}, scale", *(f"{scale:g}" for scale in scales)], cells))
    return "\n\n".join(parts)


def _abstentions(results: Sequence[Record]) -> str:
    rows = [r for r in results if (r["protocol"], r["scaling"]) == (CLIP, AS_GIVEN) and r["images abstained"]]
    if not rows:
        return "## Abstentions\n\nNone: every image gave a code at every scale."
    columns = ["method", "setting", "scale", "clips without a code", "images without a code"]
    cells = [
        [r["method"], r["setting"], f"{r['scale']:g}", f"{r['clips abstained']} of {r['clips']}", r["images abstained"]]
        for r in rows
    ]
    return "## Abstentions\n\nCounted as errors above.\n\n" + table(columns, cells, 2)


def _groups(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    scales = sorted({row["scale"] for row in rows}, reverse=True)
    cells: dict[tuple[str, str], list[object]] = {}
    for row in rows:
        line = cells.setdefault((row["group"], row["method"]), [row["group"], row["method"], row["clips"]])
        line += [""] * (3 + scales.index(row["scale"]) - len(line))
        line.append(percent(row))
    columns = ["clips", "method", "number", *(f"scale {scale:g}" for scale in scales)]
    return (
        "## By pose and age, accuracy in %\n\nBox given, the strictest protocol; pose as the network sees it.\n\n"
        + table(columns, [line + [""] * (len(columns) - len(line)) for line in cells.values()], 2)
    )


def _failures(rows: Sequence[Record]) -> str:
    if not rows:
        return ""
    columns = ["clip", "class", "taken for", "own neighbours", "amplitude mm", "expected mm", "ratio"]
    cells = [
        [
            r["clip"],
            r["label"],
            r["predicted"],
            f"{r['own neighbours']} of {r['neighbours']}",
            f"{r['amplitude mm']:.2f}",
            f"{r['expected mm']:.2f}",
            "" if r["ratio"] is None else f"{r['ratio']:.2f}",
        ]
        for r in rows
    ]
    return (
        f"## Worst failures of {rows[0]['method']}\n\n"
        f"{rows[0]['setting'].capitalize()}, scale {rows[0]['scale']:g}. Amplitude: how far the expression moves the "
        "face, rms over its vertices. Expected: the median of the other clips of the class.\n\n"
        + table(columns, cells, 3)
    )


def _pictures(record: Record, kind: str) -> str:
    found = [picture for picture in record.get("pictures", []) if picture["kind"] == kind]
    return "\n\n".join(f"![{picture['title']}]({picture['file']})" for picture in found)


def summary(record: Record) -> str:
    """A few lines for the terminal: accuracies under the strictest protocol."""
    protocol = record["protocol"]["protocols"][-1]
    return f"Accuracy, %, {protocol}\n" + "\n".join(_tables(record, protocol, AS_GIVEN, percent))
