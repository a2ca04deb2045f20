// Switches a site's maintenance page on and off, and looks whether the site answers.
//
// The page hangs on a file, as the web server is configured to see it. A run is moved on by events, and nothing lives from one
// step to the next but the state: what was asked for last, how often it was tried, and which ordinal comes next. Whatever ends in
// doubt, a look decides.

const FLAG = { name: "flag", kind: "text", default: { tag: "text", val: "/run/site/maintenance" }, range: null,
  help: "The file that the maintenance page hangs on; it holds on or off." };
const HEALTH = { name: "health", kind: "text", default: { tag: "text", val: "/health" }, range: null,
  help: "The path of the endpoint \"site\" that is asked." };
const LOOKS = { name: "looks", kind: "number", default: { tag: "number", val: 5 }, range: { least: 1, most: 30 },
  help: "How often the site is asked before it is given up, two seconds apart." };

// How often a writing that ended in doubt is done again.
const TRIES = 3;
const PAUSE_MS = 2000;
const FLAGS = { "maintenance-on": "on\n", "maintenance-off": "off\n" };
const STAGES = ["read", "write", "ask", "wait", "end"];

export function describe() {
  const settings = [FLAG, HEALTH, LOOKS].map((setting) => ({ ...setting, secret: false }));
  return { about: "Switches a site's maintenance page on and off, and looks whether the site answers.", settings };
}

export function validate() {
  return [];
}

export function step(config, state, event) {
  if (event.tag === "begin") {
    if (state.length > 0) throw { tag: "unexpected", val: "the run has begun already" };
    const { tag, val } = event.val.task;
    const run = { wanted: "", stage: "end", tries: 0, looks: 0, next: 0 };
    if (tag !== "heal") return fails(run, "permanent", "it only heals");
    if (!Object.hasOwn(FLAGS, val)) return fails(run, "permanent", "its playbooks are maintenance-on and maintenance-off");
    return reads(config, { ...run, wanted: FLAGS[val] });
  }
  const run = read(state);
  const { ordinal, answer } = event.val;
  if (ordinal >= run.next) throw { tag: "unexpected", val: `effect ${ordinal} was never asked for` };
  // An answer may come twice.
  if (ordinal < run.next - 1 || run.stage === "end") return { state, effects: [], end: null };
  return answered(config, run, answer);
}

function answered(config, run, answer) {
  const doubt = answer.tag === "in-doubt" || answer.tag === "timed-out";
  switch (run.stage) {
    case "read":
      if (answer.tag === "content" && text(answer.val.bytes) === run.wanted) return asks(config, run);
      // A flag that can't be read is not as it is wanted: it is written, and that says what is wrong.
      return run.tries < TRIES ? writes(config, run) : fails(run, "transient", "the flag can't be set");
    case "write":
      if (doubt) return reads(config, run);
      return answer.tag === "done" ? asks(config, run) : fails(run, ...trouble(answer));
    case "ask":
      if (answer.tag === "response" && answer.val.status >= 200 && answer.val.status < 300) return ends(run, { tag: "done" });
      if (run.looks >= Number(set(config, LOOKS))) return fails(run, "transient", "the site does not answer");
      return effect({ ...run, stage: "wait" }, "looks", { tag: "sleep", val: PAUSE_MS });
    default:
      return answer.tag === "done" || doubt ? asks(config, run) : fails(run, ...trouble(answer));
  }
}

function reads(config, run) {
  return effect({ ...run, stage: "read" }, "looks", { tag: "file", val: { path: set(config, FLAG), content: null } });
}

function writes(config, run) {
  const content = bytes(run.wanted);
  return effect({ ...run, stage: "write", tries: run.tries + 1 }, "changes", { tag: "file", val: { path: set(config, FLAG), content } });
}

function asks(config, run) {
  const val = { endpoint: "site", method: "GET", path: set(config, HEALTH), body: new Uint8Array() };
  return effect({ ...run, stage: "ask", looks: run.looks + 1 }, "looks", { tag: "http", val });
}

function effect(run, access, deed) {
  return { state: written({ ...run, next: run.next + 1 }), effects: [{ ordinal: run.next, access, deed }], end: null };
}

function ends(run, end) {
  return { state: written({ ...run, stage: "end" }), effects: [], end };
}

function fails(run, transience, why) {
  return ends(run, { tag: "failed", val: { transience, why } });
}

function trouble(answer) {
  if (answer.tag === "failed") return [answer.val.transience, answer.val.why];
  if (answer.tag === "refused") return ["permanent", `refused: ${answer.val}`];
  return ["transient", "that was answered with something else"];
}

function set(config, { name, default: usual }) {
  const found = config.find((setting) => setting.name === name);
  return (found ? found.value : usual).val;
}

function bytes(text) {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

function text(bytes) {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

function written(run) {
  return bytes(JSON.stringify(run));
}

function read(state) {
  const diverged = { tag: "diverged", val: "the state can't be read: it was written by something else" };
  let run;
  try {
    run = JSON.parse(text(state));
  } catch {
    throw diverged;
  }
  const whole = (n) => Number.isInteger(n) && n >= 0 && n < 1000;
  const known = run !== null && typeof run === "object" && STAGES.includes(run.stage);
  const kept = known && (run.wanted === "" || Object.values(FLAGS).includes(run.wanted));
  if (!kept || !whole(run.tries) || !whole(run.looks) || !whole(run.next)) throw diverged;
  return run;
}
