"""The talk with the test, as tests/interop/conversation.rs describes it."""

import json
import os
import sys
import traceback

setup = json.loads(os.environ["KEYWARD_INTEROP"])


def say(**message):
    print(json.dumps(message), flush=True)


def browse(address):
    """Has the person's browser go there; gives the address that it was sent back to, None for a page."""
    say(open=address)
    return json.loads(sys.stdin.readline())["address"]


def run(*steps):
    """Runs functions in order and reports each that passes; the first failure ends the program."""
    for step in steps:
        try:
            step()
        except Exception:
            say(failure=f"{step.__name__}: {traceback.format_exc()}")
            sys.exit(1)
        say(step=step.__name__)
