#!/usr/bin/env python3
"""Writes verdict.json for a build: asks Backstay, and says by its exit code whether there is an answer.

    python3 ci/analyze_metrics.py --out verdict.json [--metrics metrics.json]

Exit codes: 0 a verdict was written, whatever it says; 2 there is none, and no file. It decides nothing: whether the build goes
on, `backstay gate --verdict verdict.json` says. Service and build come from the arguments, or from what CI systems set.
"""

import argparse
import os
import subprocess
import sys

NONE = 2
# The server gives up after 60 s, and the command line after 70: this is for one that hangs nevertheless.
PATIENCE_SECS = 120


def first(*names):
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def main():
    parser = argparse.ArgumentParser(description="Ask Backstay what this build is to do.")
    parser.add_argument("--out", required=True, help="where the verdict goes: whole, or not at all")
    parser.add_argument("--metrics", help="what the pipeline measured itself: a JSON object of names and numbers")
    parser.add_argument("--service", default=first("BACKSTAY_SERVICE", "SERVICE"))
    parser.add_argument("--build", default=first("BACKSTAY_BUILD", "BUILD_NUMBER", "GITHUB_RUN_ID", "CI_JOB_ID"))
    arguments = parser.parse_args()

    # `backstay verdict` removes an older file, too; here it is gone even if there is no such command.
    try:
        os.remove(arguments.out)
    except FileNotFoundError:
        pass
    if not arguments.service or not arguments.build:
        parser.error("name the service and the build, or set SERVICE and BUILD_NUMBER")
    command = ["backstay", "verdict", "--service", arguments.service, "--build", arguments.build, "--out", arguments.out]
    if arguments.metrics:
        command += ["--metrics", arguments.metrics]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECS, check=False)
    return 0 if ended.returncode == 0 and os.path.isfile(arguments.out) else NONE


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, subprocess.SubprocessError) as error:
        print(f"analyze_metrics: there is no verdict: {error}", file=sys.stderr)
        sys.exit(NONE)
