#!/usr/bin/env python3
"""Draws docs/experiments/results.tsv: measured decode speeds in their order, and the best so far.

progress.py [RESULTS.tsv] [-o PREFIX]: writes PREFIX.svg, and PREFIX.png where matplotlib is installed
(apt-get install python3-matplotlib). A chart for each model and setting with at least one speed.
"""
import argparse
import csv
import sys
from pathlib import Path

COLUMNS = ["commit", "machine", "model", "setting", "tok_s", "ttft_s", "memory_gb", "verdict", "source"]
MARKS = {"kept": ("o", "#14508c"), "refuted": ("o", "#ffffff"), "baseline": ("s", "#c2620a")}  # shape, filling
WIDTH, ROW, LEFT, RIGHT = 720, 200, 60, 24


def read(path):
    """Rows as dictionaries; numbers are floats or None."""
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        if reader.fieldnames != COLUMNS:
            raise SystemExit(f"{path}: the columns must be {', '.join(COLUMNS)}")
        rows = []
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values() or row["verdict"] not in MARKS:
                raise SystemExit(f"{path}:{number}: expected {len(COLUMNS)} columns, verdict one of {sorted(MARKS)}")
            for name in ("tok_s", "ttft_s", "memory_gb"):
                try:
                    row[name] = None if row[name] == "-" else float(row[name])
                except ValueError:
                    raise SystemExit(f"{path}:{number}: {name}: a number or - is expected") from None
            rows.append(row)
    return rows


def series(rows):
    """(model, setting) -> [(speed, running best, row)], in the order of the file."""
    groups = {}
    for row in rows:
        if row["tok_s"] is None:
            continue
        points = groups.setdefault((row["model"], row["setting"]), [])
        best = max([row["tok_s"]] + [p[1] for p in points]) if row["verdict"] != "refuted" else (
            points[-1][1] if points else 0)
        points.append((row["tok_s"], best, row))
    return groups


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def mark(verdict, x, y):
    """Path of a mark: a disc, or a square, told apart without colours."""
    if MARKS[verdict][0] == "s":
        return f"M{x - 5:.1f} {y - 5:.1f}h10v10h-10z"
    return f"M{x - 5:.1f} {y:.1f}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"


def draw_group(name, points, top):
    """SVG of one chart whose upper edge is at `top`."""
    most = max(p[0] for p in points) * 1.15
    plot_top, plot_bottom = top + 34, top + ROW - 34
    def x(i):
        return LEFT + (i + 0.5) * (WIDTH - LEFT - RIGHT) / len(points)
    def y(value):
        return plot_bottom - value / most * (plot_bottom - plot_top)
    out = [f'<text x="{LEFT}" y="{top + 18}" font-weight="bold">{escaped(", ".join(name))}</text>']
    for part in (0, 0.5, 1):
        value = most * part
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ccc"/>'
                   f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    best = "".join(f"M{x(0):.1f} {y(p[1]):.1f}" if i == 0 else f"H{x(i):.1f}V{y(p[1]):.1f}" for i, p in enumerate(points))
    out.append(f'<path d="{best}" fill="none" stroke="#14508c" stroke-width="2"/>')
    for i, (speed, best_so_far, row) in enumerate(points):
        # Away from the line, which lies on the best and above all others.
        label_y = y(speed) - 9 if speed == best_so_far else y(speed) + 18
        out.append(f'<path d="{mark(row["verdict"], x(i), y(speed))}" fill="{MARKS[row["verdict"]][1]}" stroke="#14508c">'
                   f'<title>{escaped(row["source"])}</title></path>'
                   f'<text x="{x(i):.1f}" y="{label_y:.1f}" text-anchor="middle">{speed:g}</text>'
                   f'<text x="{x(i):.1f}" y="{plot_bottom + 16}" text-anchor="middle">{escaped(row["commit"])}</text>')
    return out


def svg(groups):
    height = ROW * len(groups) + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
           f'font-size="12"><rect width="{WIDTH}" height="{height}" fill="#fff"/>']
    for i, (name, points) in enumerate(groups.items()):
        out += draw_group(name, points, i * ROW)
    out.append(f'<text x="{LEFT}" y="{height - 10}">decode, tok/s, by commit; line: the best so far; filled: kept, '
               'hollow: refuted, square: another engine</text></svg>')
    return "\n".join(out) + "\n"


def write_png(groups, path):
    try:
        import matplotlib
    except ImportError:
        print(f"{path} is not written: matplotlib is missing (apt-get install python3-matplotlib)", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(9, 2.6 * len(groups)), squeeze=False)
    for (name, points), axis in zip(groups.items(), axes[:, 0]):
        where = range(len(points))
        axis.step(where, [p[1] for p in points], where="post", color="#14508c", label="best so far")
        for verdict, (shape, face) in MARKS.items():
            chosen = [(i, p[0]) for i, p in enumerate(points) if p[2]["verdict"] == verdict]
            if chosen:
                axis.plot(*zip(*chosen), shape, markerfacecolor=face, markeredgecolor="#14508c", label=verdict)
        axis.set_xticks(list(where), [p[2]["commit"] for p in points], fontsize=8)
        axis.set_ylim(0, max(p[0] for p in points) * 1.15)
        axis.set_title(", ".join(name), fontsize=10)
        axis.set_ylabel("tok/s")
        axis.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(arguments):
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="?", default=str(root / "docs" / "experiments" / "results.tsv"))
    parser.add_argument("-o", "--output", default="progress", help="prefix of the files to write")
    chosen = parser.parse_args(arguments)
    groups = series(read(chosen.results))
    if not groups:
        raise SystemExit(f"{chosen.results}: no speed in it")
    Path(chosen.output + ".svg").write_text(svg(groups), encoding="utf-8")
    write_png(groups, chosen.output + ".png")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"progress.py: {error}") from None
