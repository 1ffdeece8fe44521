# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Runs the survey: each class in a process of its own, with a limit of time; see the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.survey.page import PAGE, make_page
from bench.survey.runs import RESULTS, class_names, load_results, run_alone, save_results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.survey", description=__doc__)
    parser.add_argument("classes", nargs="*", help="run these, whatever the file says")
    parser.add_argument(
        "--again", nargs="*", default=[], metavar="OUTCOME", help="also classes with these results"
    )
    parser.add_argument("--all", action="store_true", help="run every class anew")
    parser.add_argument("--page", action="store_true", help="run none, only write docs/generated/models.md")
    parser.add_argument("--check", action="store_true", help="fail where that page is stale")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another file to keep the results in")
    arguments = parser.parse_args()
    results, versions = load_results(arguments.results)
    if arguments.check:
        if PAGE.read_text() != make_page(results, versions):
            sys.exit("stale: docs/generated/models.md: run ./dev doc")
        return
    if not arguments.page:
        families = class_names()
        names = [
            name
            for name in families
            if arguments.all or name not in results or results[name]["outcome"] in arguments.again
        ]
        for name in arguments.classes or names:
            one = results[name] = run_alone(name, families[name])
            save_results(results, arguments.results)
            print(f"{one['outcome']:9} {name}: {one.get('reason', one.get('error'))}", flush=True)
        results, versions = load_results(arguments.results)
    if arguments.results == RESULTS:
        PAGE.write_text(make_page(results, versions))


if __name__ == "__main__":
    main()
