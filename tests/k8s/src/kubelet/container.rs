//! What becomes of a container that doesn't run.
//!
//!   Creating -- its image is there --> Running -- ends --> Waiting -- its turn --> Running
//!   Creating -- no image --> Pulling -- an image --> Creating
//!   Running -- ends, and nobody wants it again --> Over
//!
//! Here: the stages, how long each lasts, and how each looks in a pod's status. Times are as in a kubelet, only shorter: a pause between
//! two starts begins with 1 s, and not with 10.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Fault, quantity};
use crate::clock;

/// From its pod's coming to its start.
const STARTS: Duration = Duration::from_millis(50);
/// From its start until it is ready.
const GETS_READY: Duration = Duration::from_millis(50);
/// From its start until it ends, if something is wrong with it.
const LIVES: Duration = Duration::from_millis(300);
/// The first pause before it is started again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often an image is asked for.
const PULLS: Duration = Duration::from_secs(1);

/// One container of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) name: String,
    stage: Stage,
    restarts: u32,
    last: Option<Ended>,
    /// The resources that it was given: those of the pod when it came, or what a resize made of them.
    pub(crate) given: Value,
}

#[derive(Clone, Debug)]
enum Stage {
    Creating { until: SystemTime },
    Pulling { tries: u32, until: SystemTime },
    Running { since: SystemTime },
    Waiting { until: SystemTime },
    Over(Ended),
}

#[derive(Clone, Debug)]
struct Ended {
    started: SystemTime,
    finished: SystemTime,
    code: u8,
    reason: &'static str,
}

/// What its pod says of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Always,
    OnFailure,
    Never,
}

/// What counts for it at the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) time: SystemTime,
    pub(crate) fault: Option<Fault>,
    pub(crate) again: Again,
    /// How long it runs where it isn't wanted again after its end.
    pub(crate) runs: Duration,
}

impl Container {
    pub(crate) fn new(spec: &Value, restarts: u32, now: SystemTime) -> Self {
        Self {
            name: spec["name"].as_str().unwrap_or_default().to_owned(),
            stage: Stage::Creating { until: now + STARTS },
            restarts,
            last: None,
            given: spec["resources"].clone(),
        }
    }

    /// Does what is due, and says when something will be.
    pub(crate) fn advance(&mut self, now: &Now) -> Option<SystemTime> {
        loop {
            let due = match self.stage {
                Stage::Creating { .. } if now.fault == Some(Fault::ImagePull) => {
                    self.stage = Stage::Pulling { tries: 0, until: now.time + PULLS };
                    continue;
                }
                Stage::Pulling { .. } if now.fault != Some(Fault::ImagePull) => {
                    self.stage = Stage::Creating { until: now.time + STARTS };
                    continue;
                }
                Stage::Waiting { .. } if self.end(now).is_none() => {
                    self.starts(now.time);
                    continue;
                }
                Stage::Running { since } => match self.end(now) {
                    Some((lives, code, reason)) if now.time >= since + lives => {
                        self.ends(now, since, code, reason);
                        continue;
                    }
                    Some((lives, _, _)) => Some(since + lives),
                    None => self.ready_at(now).filter(|ready| *ready > now.time),
                },
                Stage::Creating { until } | Stage::Waiting { until } | Stage::Pulling { until, .. } => {
                    Some(until)
                }
                Stage::Over(_) => None,
            };
            if due.is_none_or(|due| due > now.time) {
                // A pod that will end is ready before.
                let ready = self.ready_at(now).filter(|ready| *ready > now.time);
                return [due, ready].into_iter().flatten().min();
            }
            match &mut self.stage {
                Stage::Creating { .. } => self.stage = Stage::Running { since: now.time },
                Stage::Waiting { .. } => self.starts(now.time),
                Stage::Pulling { tries, until } => {
                    *tries += 1;
                    *until = now.time + PULLS;
                }
                Stage::Running { .. } | Stage::Over(_) => {}
            }
        }
    }

    /// Ends it and starts it at once, as a resize may want.
    pub(crate) fn is_restarted(&mut self, now: SystemTime) {
        if let Stage::Running { since } = self.stage {
            self.last = Some(Ended { started: since, finished: now, code: 137, reason: "Error" });
            self.starts(now);
        }
    }

    fn starts(&mut self, now: SystemTime) {
        self.restarts += 1;
        self.stage = Stage::Running { since: now };
    }

    fn ends(&mut self, now: &Now, since: SystemTime, code: u8, reason: &'static str) {
        let ended = Ended { started: since, finished: now.time, code, reason };
        let wanted = match now.again {
            Again::Always => true,
            Again::OnFailure => code != 0,
            Again::Never => false,
        };
        if !wanted {
            self.stage = Stage::Over(ended);
            return;
        }
        self.last = Some(ended);
        // The first time it is started again at once.
        let doublings = self.restarts.saturating_sub(1).min(8);
        let pause =
            if self.restarts == 0 { Duration::ZERO } else { (PAUSE * (1 << doublings)).min(PAUSE_MAX) };
        self.stage = Stage::Waiting { until: now.time + pause };
    }

    /// How long after its start it ends, and how; `None` if it goes on.
    fn end(&self, now: &Now) -> Option<(Duration, u8, &'static str)> {
        let limit = self.given["limits"]["memory"].as_str().and_then(quantity::bytes);
        match now.fault {
            Some(Fault::CrashLoop) => Some((LIVES, 1, "Error")),
            Some(Fault::Crashes(times)) if self.restarts < times => Some((LIVES, 1, "Error")),
            Some(Fault::OutOfMemory { below }) if limit.is_some_and(|limit| limit < below) => {
                Some((LIVES, 137, "OOMKilled"))
            }
            _ if now.again != Again::Always => Some((now.runs, 0, "Completed")),
            _ => None,
        }
    }

    fn ready_at(&self, now: &Now) -> Option<SystemTime> {
        let Stage::Running { since } = self.stage else { return None };
        match now.fault {
            Some(Fault::NotReady | Fault::CrashLoop | Fault::ImagePull | Fault::Evicted) => None,
            Some(Fault::Crashes(times)) if self.restarts < times => None,
            Some(Fault::SlowReady(time)) => Some(since + time),
            Some(Fault::Crashes(_) | Fault::OutOfMemory { .. }) | None => Some(since + GETS_READY),
        }
    }

    pub(crate) fn is_ready(&self, now: &Now) -> bool {
        self.ready_at(now).is_some_and(|ready| ready <= now.time)
    }

    /// What stands in its way, in a word.
    pub(crate) fn ails(&self, now: &Now) -> Option<&'static str> {
        match (&self.stage, now.fault) {
            (_, Some(Fault::Evicted)) => Some("Evicted"),
            (Stage::Pulling { tries: 0, .. }, _) => Some("ErrImagePull"),
            (Stage::Pulling { .. }, _) => Some("ImagePullBackOff"),
            (Stage::Waiting { .. }, _) => Some("CrashLoopBackOff"),
            (Stage::Running { .. }, Some(Fault::NotReady)) => Some("Unhealthy"),
            (Stage::Creating { .. } | Stage::Running { .. } | Stage::Over(_), _) => None,
        }
    }

    /// Whether it has run.
    pub(crate) fn has_started(&self) -> bool {
        !matches!(self.stage, Stage::Creating { .. } | Stage::Pulling { .. })
    }

    /// With which code it ended for good.
    pub(crate) fn is_over(&self) -> Option<u8> {
        match &self.stage {
            Stage::Over(ended) => Some(ended.code),
            Stage::Creating { .. }
            | Stage::Pulling { .. }
            | Stage::Running { .. }
            | Stage::Waiting { .. } => None,
        }
    }

    /// Ends it with its pod.
    pub(crate) fn is_killed(&mut self, now: SystemTime) {
        let started = match self.stage {
            Stage::Running { since } => since,
            Stage::Over(_) => return,
            Stage::Creating { .. } | Stage::Pulling { .. } | Stage::Waiting { .. } => now,
        };
        self.stage = Stage::Over(Ended { started, finished: now, code: 137, reason: "Error" });
    }

    /// How it looks in its pod's status.
    pub(crate) fn status(
        &self,
        image: &str,
        pod: &str,
        uid: &str,
        now: &Now,
        tells_resources: bool,
    ) -> Value {
        let id = |number: u32| format!("none://{uid}/{}/{number}", self.name);
        let terminated = |ended: &Ended, number: u32| {
            json!({"terminated": {
                "exitCode": ended.code,
                "reason": ended.reason,
                "startedAt": clock::second(ended.started),
                "finishedAt": clock::second(ended.finished),
                "containerID": id(number),
            }})
        };
        let waiting = |message: String| json!({"waiting": {"reason": self.ails(now), "message": message}});
        let state = match &self.stage {
            Stage::Creating { .. } => json!({"waiting": {"reason": "ContainerCreating"}}),
            Stage::Pulling { tries: 0, .. } => {
                waiting(format!("failed to pull image \"{image}\": not found"))
            }
            Stage::Pulling { .. } => waiting(format!("Back-off pulling image \"{image}\"")),
            Stage::Running { since } => json!({"running": {"startedAt": clock::second(*since)}}),
            Stage::Waiting { .. } => {
                let about = format!("restarting failed container={} pod={pod}", self.name);
                waiting(format!("back-off {about}"))
            }
            Stage::Over(ended) => terminated(ended, self.restarts),
        };
        let last = self.last.as_ref().map(|ended| terminated(ended, self.restarts.saturating_sub(1)));
        // Nothing was pulled, so there is a digest only where the reference has one.
        let pulled = if image.contains('@') && self.has_started() { image } else { "" };
        let runs = matches!(self.stage, Stage::Running { .. });
        let mut status = json!({
            "name": self.name,
            "image": image,
            "imageID": pulled,
            "containerID": if self.has_started() { id(self.restarts) } else { String::new() },
            "ready": self.is_ready(now),
            "started": runs,
            "restartCount": self.restarts,
            "state": state,
            "lastState": last.unwrap_or_else(|| json!({})),
        });
        if tells_resources && runs {
            status["resources"] = self.given.clone();
            status["allocatedResources"] = self.given["requests"].clone();
        }
        status
    }
}
