// Switches a site's maintenance page on and off, and looks whether the site answers.
//
// The page hangs on a file, as the web server is configured to see it. A run is moved on by events, and nothing lives from one
// step to the next but the state: what was asked for last, how often it was tried, and which ordinal comes next. Whatever ends
// in doubt, a look decides.
//
// What is returned is given back by the bindings with free(), so it is copied: executor_string_dup and not _set.
#include <stdlib.h>
#include <string.h>

#include "executor.h"

// How often a writing that ended in doubt is done again, and how long the site is left in peace between two looks.
enum { TRIES = 3, PAUSE_MS = 2000, FORMAT = 1 };
enum stage { READ, WRITE, ASK, WAIT, END };

// The state as it is kept: single bytes, so no padding and no byte order.
typedef struct {
  uint8_t format, stage, on, tries, looks, next;
} run_t;

typedef const executor_list_setting_t *config_t;

static const char FLAG[] = "flag", FLAG_USUAL[] = "/run/site/maintenance";
static const char HEALTH[] = "health", HEALTH_USUAL[] = "/health";
static const char LOOKS[] = "looks";
static const int64_t LOOKS_USUAL = 5, LOOKS_MOST = 30;

static void text_info(backstay_plugin_common_setting_info_t *info, const char *name, const char *usual, const char *help) {
  executor_string_dup(&info->name, name);
  info->kind = BACKSTAY_PLUGIN_COMMON_KIND_TEXT;
  info->default_.is_some = true;
  info->default_.val.tag = BACKSTAY_PLUGIN_COMMON_VALUE_TEXT;
  executor_string_dup(&info->default_.val.val.text, usual);
  executor_string_dup(&info->help, help);
}

void exports_executor_describe(executor_description_t *ret) {
  backstay_plugin_common_setting_info_t *info = calloc(3, sizeof *info);
  text_info(&info[0], FLAG, FLAG_USUAL, "The file that the maintenance page hangs on; it holds on or off.");
  text_info(&info[1], HEALTH, HEALTH_USUAL, "The path of the endpoint \"site\" that is asked.");
  executor_string_dup(&info[2].name, LOOKS);
  info[2].kind = BACKSTAY_PLUGIN_COMMON_KIND_NUMBER;
  info[2].default_.is_some = true;
  info[2].default_.val.tag = BACKSTAY_PLUGIN_COMMON_VALUE_NUMBER;
  info[2].default_.val.val.number = LOOKS_USUAL;
  info[2].range.is_some = true;
  info[2].range.val.least = 1;
  info[2].range.val.most = LOOKS_MOST;
  executor_string_dup(&info[2].help, "How often the site is asked before it is given up, two seconds apart.");
  executor_string_dup(&ret->about, "Switches a site's maintenance page on and off, and looks whether the site answers.");
  ret->settings.ptr = info;
  ret->settings.len = 3;
}

void exports_executor_validate(executor_list_setting_t *config, executor_list_problem_t *ret) {
  (void)config;
  ret->ptr = NULL;
  ret->len = 0;
}

static bool is(const uint8_t *bytes, size_t len, const char *text) {
  return len == strlen(text) && memcmp(bytes, text, len) == 0;
}

static const backstay_plugin_common_value_t *set(config_t config, const char *name) {
  for (size_t n = 0; n < config->len; n++) {
    const executor_setting_t *setting = &config->ptr[n];
    if (is(setting->name.ptr, setting->name.len, name)) return &setting->value;
  }
  return NULL;
}

static void text_of(config_t config, const char *name, const char *usual, executor_string_t *ret) {
  const backstay_plugin_common_value_t *value = set(config, name);
  if (value) {
    executor_string_dup_n(ret, (const char *)value->val.text.ptr, value->val.text.len);
  } else {
    executor_string_dup(ret, usual);
  }
}

static const char *wanted(const run_t *run) { return run->on ? "on\n" : "off\n"; }

static bool keeps(const run_t *run, executor_stepped_t *ret) {
  ret->state.len = sizeof *run;
  ret->state.ptr = malloc(sizeof *run);
  memcpy(ret->state.ptr, run, sizeof *run);
  return true;
}

static backstay_plugin_effects_deed_t *asks(run_t *run, uint8_t stage, uint8_t deed, executor_stepped_t *ret) {
  backstay_plugin_effects_effect_t *effect = calloc(1, sizeof *effect);
  effect->ordinal = run->next;
  effect->access =
      stage == WRITE ? BACKSTAY_PLUGIN_EFFECTS_ACCESS_CHANGES : BACKSTAY_PLUGIN_EFFECTS_ACCESS_LOOKS;
  effect->deed.tag = deed;
  run->stage = stage;
  run->next += 1;
  keeps(run, ret);
  ret->effects.ptr = effect;
  ret->effects.len = 1;
  return &effect->deed;
}

static bool reads(run_t *run, config_t config, executor_stepped_t *ret) {
  backstay_plugin_effects_deed_t *deed = asks(run, READ, BACKSTAY_PLUGIN_EFFECTS_DEED_FILE, ret);
  text_of(config, FLAG, FLAG_USUAL, &deed->val.file.path);
  return true;
}

static bool writes(run_t *run, config_t config, executor_stepped_t *ret) {
  run->tries += 1;
  backstay_plugin_effects_deed_t *deed = asks(run, WRITE, BACKSTAY_PLUGIN_EFFECTS_DEED_FILE, ret);
  text_of(config, FLAG, FLAG_USUAL, &deed->val.file.path);
  executor_string_t content;
  executor_string_dup(&content, wanted(run));
  deed->val.file.content.is_some = true;
  deed->val.file.content.val.ptr = content.ptr;
  deed->val.file.content.val.len = content.len;
  return true;
}

static bool asks_site(run_t *run, config_t config, executor_stepped_t *ret) {
  run->looks += 1;
  backstay_plugin_effects_deed_t *deed = asks(run, ASK, BACKSTAY_PLUGIN_EFFECTS_DEED_HTTP, ret);
  executor_string_dup(&deed->val.http.endpoint, "site");
  executor_string_dup(&deed->val.http.method, "GET");
  text_of(config, HEALTH, HEALTH_USUAL, &deed->val.http.path);
  return true;
}

static bool done(run_t *run, executor_stepped_t *ret) {
  run->stage = END;
  ret->end.is_some = true;
  ret->end.val.tag = BACKSTAY_PLUGIN_ORDERS_OUTCOME_DONE;
  return keeps(run, ret);
}

static bool fails(run_t *run, uint8_t transience, const char *why, executor_stepped_t *ret) {
  done(run, ret);
  ret->end.val.tag = BACKSTAY_PLUGIN_ORDERS_OUTCOME_FAILED;
  ret->end.val.val.failed.transience = transience;
  executor_string_dup(&ret->end.val.val.failed.why, why);
  return true;
}

static bool refused(uint8_t tag, const char *why, executor_refusal_t *err) {
  err->tag = tag;
  executor_string_dup(&err->val.bug, why);
  return false;
}

static bool begins(const backstay_plugin_orders_order_t *order, config_t config, executor_stepped_t *ret) {
  const uint8_t permanent = BACKSTAY_PLUGIN_ORDERS_TRANSIENCE_PERMANENT;
  run_t run = {.format = FORMAT};
  if (order->task.tag != BACKSTAY_PLUGIN_ORDERS_TASK_HEAL) return fails(&run, permanent, "it only heals", ret);
  const executor_string_t *playbook = &order->task.val.heal;
  run.on = is(playbook->ptr, playbook->len, "maintenance-on");
  if (!run.on && !is(playbook->ptr, playbook->len, "maintenance-off")) {
    return fails(&run, permanent, "its playbooks are maintenance-on and maintenance-off", ret);
  }
  return reads(&run, config, ret);
}

static bool goes_on(run_t *run, config_t config, const backstay_plugin_effects_answer_t *answer, executor_stepped_t *ret) {
  const uint8_t transient = BACKSTAY_PLUGIN_ORDERS_TRANSIENCE_TRANSIENT;
  const uint8_t permanent = BACKSTAY_PLUGIN_ORDERS_TRANSIENCE_PERMANENT;
  bool doubt = answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_IN_DOUBT ||
               answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_TIMED_OUT;
  bool well = answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_DONE;
  if (run->stage == READ) {
    const executor_list_u8_t *held = &answer->val.content.bytes;
    if (answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_CONTENT && is(held->ptr, held->len, wanted(run))) {
      return asks_site(run, config, ret);
    }
    // A flag that can't be read is not as it is wanted: it is written, and that says what is wrong.
    return run->tries < TRIES ? writes(run, config, ret) : fails(run, transient, "the flag can't be set", ret);
  }
  if (run->stage == WRITE && doubt) return reads(run, config, ret);
  if (run->stage == ASK) {
    uint16_t status = answer->val.response.status;
    if (answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_RESPONSE && status >= 200 && status < 300) return done(run, ret);
    const backstay_plugin_common_value_t *looks = set(config, LOOKS);
    if (run->looks >= (looks ? looks->val.number : LOOKS_USUAL)) {
      return fails(run, transient, "the site does not answer", ret);
    }
    asks(run, WAIT, BACKSTAY_PLUGIN_EFFECTS_DEED_SLEEP, ret)->val.sleep = PAUSE_MS;
    return true;
  }
  if (well || (run->stage == WAIT && doubt)) return asks_site(run, config, ret);
  if (answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_REFUSED) return fails(run, permanent, "it is not granted", ret);
  const char *why = run->stage == WRITE ? "the flag can't be written" : "it can't wait";
  bool for_good = answer->tag == BACKSTAY_PLUGIN_EFFECTS_ANSWER_FAILED && answer->val.failed.transience == permanent;
  return fails(run, for_good ? permanent : transient, why, ret);
}

bool exports_executor_step(executor_list_setting_t *config, executor_list_u8_t *state, executor_event_t *event,
                           executor_stepped_t *ret, executor_refusal_t *err) {
  memset(ret, 0, sizeof *ret);
  if (event->tag == BACKSTAY_PLUGIN_EFFECTS_EVENT_BEGIN) {
    if (state->len > 0) {
      return refused(BACKSTAY_PLUGIN_ORDERS_REFUSAL_UNEXPECTED, "the run has begun already", err);
    }
    return begins(&event->val.begin, config, ret);
  }
  run_t run = {0};
  bool whole = state->len == sizeof run;
  if (whole) memcpy(&run, state->ptr, sizeof run);
  if (!whole || run.format != FORMAT || run.stage > END || run.on > 1 || run.tries > TRIES || run.looks > LOOKS_MOST) {
    return refused(BACKSTAY_PLUGIN_ORDERS_REFUSAL_DIVERGED, "the state was written by something else", err);
  }
  uint32_t ordinal = event->val.answered.ordinal;
  if (ordinal >= run.next) {
    return refused(BACKSTAY_PLUGIN_ORDERS_REFUSAL_UNEXPECTED, "that was never asked for", err);
  }
  // An answer may come twice.
  if (ordinal + 1 < run.next || run.stage == END) return keeps(&run, ret);
  return goes_on(&run, config, &event->val.answered.answer, ret);
}
