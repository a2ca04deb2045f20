"""Switches a site's maintenance page on and off, and looks whether the site answers.

The page hangs on a file, as the web server is configured to see it. A run is moved on by events, and nothing lives from one step
to the next but the state: what was asked for last, how often it was tried, and which ordinal comes next. Whatever ends in doubt, a
look decides.
"""

import json

import wit_world
from componentize_py_types import Err
from wit_world.imports.common import Description, Kind, SettingInfo, Span, Value_Number, Value_Text
from wit_world.imports.effects import (
    Access, Answer_Content, Answer_Done, Answer_Failed, Answer_InDoubt, Answer_Refused, Answer_Response, Answer_TimedOut,
    Deed_File, Deed_Http, Deed_Sleep, Effect, Event_Begin, File, Http, Stepped,
)
from wit_world.imports.orders import (
    Failed, Outcome_Done, Outcome_Failed, Refusal_Diverged, Refusal_Unexpected, Task_Heal, Transience,
)

FLAG = SettingInfo("flag", Kind.TEXT, Value_Text("/run/site/maintenance"), None, False,
                   "The file that the maintenance page hangs on; it holds on or off.")
HEALTH = SettingInfo("health", Kind.TEXT, Value_Text("/health"), None, False,
                     "The path of the endpoint \"site\" that is asked.")
LOOKS = SettingInfo("looks", Kind.NUMBER, Value_Number(5), Span(1, 30), False,
                    "How often the site is asked before it is given up, two seconds apart.")

# How often a writing that ended in doubt is done again.
TRIES = 3
PAUSE_MS = 2000
FLAGS = {"maintenance-on": "on\n", "maintenance-off": "off\n"}
STAGES = ("read", "write", "ask", "wait", "end")


class WitWorld(wit_world.WitWorld):
    def describe(self):
        about = "Switches a site's maintenance page on and off, and looks whether the site answers."
        return Description(about, [FLAG, HEALTH, LOOKS])

    def validate(self, config):
        return []

    def step(self, config, state, event):
        if isinstance(event, Event_Begin):
            if state:
                raise Err(Refusal_Unexpected("the run has begun already"))
            run = {"wanted": "", "stage": "end", "tries": 0, "looks": 0, "next": 0}
            task = event.value.task
            if not isinstance(task, Task_Heal):
                return fails(run, Transience.PERMANENT, "it only heals")
            if task.value not in FLAGS:
                return fails(run, Transience.PERMANENT, "its playbooks are maintenance-on and maintenance-off")
            return reads(config, dict(run, wanted=FLAGS[task.value]))
        run = read(state)
        ordinal, answer = event.value.ordinal, event.value.answer
        if ordinal >= run["next"]:
            raise Err(Refusal_Unexpected(f"effect {ordinal} was never asked for"))
        # An answer may come twice.
        if ordinal < run["next"] - 1 or run["stage"] == "end":
            return Stepped(bytes(state), [], None)
        return answered(config, run, answer)


def answered(config, run, answer):
    doubt = isinstance(answer, (Answer_InDoubt, Answer_TimedOut))
    if run["stage"] == "read":
        if isinstance(answer, Answer_Content) and bytes(answer.value.bytes) == run["wanted"].encode():
            return asks(config, run)
        # A flag that can't be read is not as it is wanted: it is written, and that says what is wrong.
        if run["tries"] < TRIES:
            return writes(config, run)
        return fails(run, Transience.TRANSIENT, "the flag can't be set")
    if run["stage"] == "write":
        if doubt:
            return reads(config, run)
        return asks(config, run) if isinstance(answer, Answer_Done) else fails(run, *trouble(answer))
    if run["stage"] == "ask":
        if isinstance(answer, Answer_Response) and 200 <= answer.value.status < 300:
            return ends(run, Outcome_Done())
        if run["looks"] >= setting(config, LOOKS):
            return fails(run, Transience.TRANSIENT, "the site does not answer")
        return effect(dict(run, stage="wait"), Access.LOOKS, Deed_Sleep(PAUSE_MS))
    return asks(config, run) if doubt or isinstance(answer, Answer_Done) else fails(run, *trouble(answer))


def reads(config, run):
    return effect(dict(run, stage="read"), Access.LOOKS, Deed_File(File(setting(config, FLAG), None)))


def writes(config, run):
    deed = Deed_File(File(setting(config, FLAG), run["wanted"].encode()))
    return effect(dict(run, stage="write", tries=run["tries"] + 1), Access.CHANGES, deed)


def asks(config, run):
    deed = Deed_Http(Http("site", "GET", setting(config, HEALTH), b""))
    return effect(dict(run, stage="ask", looks=run["looks"] + 1), Access.LOOKS, deed)


def effect(run, access, deed):
    return Stepped(written(dict(run, next=run["next"] + 1)), [Effect(run["next"], access, deed)], None)


def ends(run, outcome):
    return Stepped(written(dict(run, stage="end")), [], outcome)


def fails(run, transience, why):
    return ends(run, Outcome_Failed(Failed(transience, why)))


def trouble(answer):
    if isinstance(answer, Answer_Failed):
        return answer.value.transience, answer.value.why
    if isinstance(answer, Answer_Refused):
        return Transience.PERMANENT, f"refused: {answer.value}"
    return Transience.TRANSIENT, "that was answered with something else"


def setting(config, info):
    return next((setting.value.value for setting in config if setting.name == info.name), info.default.value)


def written(run):
    return json.dumps(run).encode()


def read(state):
    diverged = Err(Refusal_Diverged("the state can't be read: it was written by something else"))
    try:
        run = json.loads(bytes(state))
    except ValueError:
        raise diverged
    if not isinstance(run, dict) or run.get("stage") not in STAGES or run.get("wanted") not in ("", *FLAGS.values()):
        raise diverged
    for key in ("tries", "looks", "next"):
        if not isinstance(run.get(key), int) or not 0 <= run[key] < 1000:
            raise diverged
    return run
