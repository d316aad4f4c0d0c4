"""`lookright study`: a study file in; rows, tables, plots and a report out."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lookright.cli.output import data, say, text_width
from lookright.training.defaults import DEVICES

if TYPE_CHECKING:
    from lookright.study.definition import Study

EXAMPLES = """
lookright study studies/laptop.toml --out laptop
lookright study studies/laptop.toml --out laptop --workers 2
lookright study studies/laptop.toml --out laptop --list
lookright study studies/laptop.toml --out laptop --report-only > tables.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study, the place, and how it is run."""
    parser.add_argument("file", metavar="STUDY.toml", help="the study file: models, plans, seeds, data sets, recipes")
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the study; what is done is not run again"
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="runs at once; with GPUs, one each in turn (default: 1)"
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="where to run (default: auto)")
    parser.add_argument("--samples", type=int, default=10_000, metavar="N", help="resamples of a test (default: 10000)")
    parser.add_argument("--no-plots", action="store_true", help="leave the plots out, which need matplotlib")
    parser.add_argument("--list", action="store_true", help="show each run and how it stands, and run nothing")
    parser.add_argument("--report-only", action="store_true", help="run nothing; write tables, plots and report anew")


def run(args: argparse.Namespace) -> int:
    """Run what is left, write the report, print the tables."""
    from lookright.cli.parser import UsageError
    from lookright.study.definition import Study

    for name, least in (("workers", 1), ("samples", 100)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} is {getattr(args, name)}; expected at least {least}")
    study = Study.from_toml(args.file)
    if args.list:
        show_runs(study, args.out)
        return 0
    from lookright.api.studies import report_study, run_study

    failed, plots = 0, not args.no_plots
    if args.report_only:
        results = report_study(study, args.out, samples=args.samples, plots=plots)
    else:
        with ending_with_its_runs():
            outcome = run_study(
                study, args.out, workers=args.workers, device=args.device, samples=args.samples, plots=plots,
                say=lambda line: say(line, quiet=args.quiet),
            )  # fmt: skip
        failed, results = outcome.failed, outcome.results
    if results is None:
        say(f"no run is done yet in {args.out}: nothing to report", quiet=args.quiet)
        return 1 if failed or args.report_only else 0
    from lookright.study.tables import document, to_text

    data(to_text(document(results), width=text_width()))
    say(f"written: {args.out}/report.html, tables.md, tables.tex, results.csv, comparisons.csv", quiet=args.quiet)
    return 1 if failed else 0


def show_runs(study: Study, out: str) -> None:
    """Print a line for each run: done, failed or left, its id and its name."""
    from pathlib import Path

    from lookright.study.folder import StudyFolder, last_of
    from lookright.study.matrix import jobs_of

    folder = StudyFolder(Path(out))
    folder.check(study)
    rows = folder.rows()
    for job in jobs_of(study):
        row = last_of(rows, job.name)
        state = "left" if row is None else str(row["status"])
        reason = f"  ({row['error']})" if row is not None and state == "failed" else ""
        data(f"{state:<6}  {job.id}  {job.name}{reason}\n")


@contextlib.contextmanager
def ending_with_its_runs() -> Iterator[None]:
    """Within: SIGTERM ends the processes of runs, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(*_: Any) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
