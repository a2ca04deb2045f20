//! The same histories on a real API server, with the real controllers and tools.
//!
//! After each act the workload is waited for until it is as the model has it: so a model that is wrong about a controller is found where
//! it goes wrong. Then a tool is asked, and what it asks for is compared with the model's answer. What is different is an error, in words.
//! Not here: pods that serve anything. Whether a release is any good beyond that its pods come up, only the history knows.

mod helm;
mod objects;
mod workload;

use std::{
    fmt::Debug,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Act, Answer, History, Kind, Model, Shape, Template, Tool};
use crate::{ControlPlane, Namespace, Refusal};

/// How long a workload may take to become what the model says, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A history that is played in a namespace of its own.
pub struct Stage<'h> {
    history: &'h History,
    cluster: ControlPlane,
    space: Namespace,
    model: Model,
    /// The chart, if it takes one.
    folder: TempDir,
}

impl<'h> Stage<'h> {
    /// Plays a history to its end.
    ///
    /// # Errors
    /// What isn't as the model has it.
    pub fn plays(cluster: &ControlPlane, history: &'h History) -> Result<Self, String> {
        let space = cluster.namespace("history");
        let folder = tempfile::tempdir().map_err(told)?;
        let mut stage = Self { history, cluster: cluster.clone(), space, model: history.beginning(), folder };
        stage.begins()?;
        stage.settles("the beginning")?;
        for act in &history.acts {
            let expected = stage.model.acts(&history.product, act);
            let done = stage.acts(act)?;
            if done == (expected == Answer::Refused) {
                return Err(format!("{act:?}: {done}, and by the model {expected:?}"));
            }
            stage.settles(&format!("{act:?}"))?;
        }
        if stage.model != history.model {
            return Err("the model came to another end than before".into());
        }
        stage.is_told_alike()?;
        Ok(stage)
    }

    /// Asks a tool for a way back. What it answers, as the model does, too.
    ///
    /// # Errors
    /// The tool does something else than its model.
    pub fn asks(&mut self, tool: Tool) -> Result<Answer, String> {
        let before = self.current()?;
        let model_before = self.model.clone();
        let expected = self.model.asks(&self.history.product, tool);
        let out = self.tool(tool, &model_before)?;
        let after = self.current()?;
        let answer = match out {
            Some(out) if out.status.success() && before == after => Answer::Stayed,
            Some(out) if out.status.success() => Answer::Moved(after),
            Some(_) | None => Answer::Refused,
        };
        if answer != expected || (answer == Answer::Refused && before != after) {
            return Err(format!("{tool:?} from {before:?}: {answer:?}, and by the model {expected:?}"));
        }
        self.settles(&format!("{tool:?}"))?;
        Ok(answer)
    }

    /// Ours has gone home: what is there is as the history says.
    ///
    /// # Errors
    /// It isn't.
    pub fn is_home(&mut self) -> Result<(), String> {
        self.model = self.history.after.clone();
        self.settles("ours went home")
    }

    /// Where it is played.
    #[must_use]
    pub fn space(&self) -> &Namespace {
        &self.space
    }

    /// What is asked for now.
    ///
    /// # Errors
    /// It can't be read.
    pub fn current(&self) -> Result<Template, String> {
        let path = match self.history.kind {
            Kind::Helm | Kind::Deployment => self.space.path(objects::APPS, "deployments/shop"),
            Kind::Rollout => self.space.path(objects::ARGO, "rollouts/shop"),
        };
        let found = self.cluster.api().get(&path).map_err(told)?;
        let template = objects::read(&self.history.product, &found["spec"]["template"])?;
        // Restarts are not Helm's.
        let restart = if self.history.kind == Kind::Helm { 0 } else { template.restart };
        Ok(Template { restart, ..template })
    }

    fn begins(&self) -> Result<(), String> {
        match self.history.kind {
            Kind::Helm => self.installs(),
            Kind::Deployment | Kind::Rollout => self.creates(),
        }
    }

    /// Whether it was done, or refused.
    fn acts(&self, act: &Act) -> Result<bool, String> {
        match self.history.kind {
            Kind::Helm => self.acts_by_helm(act),
            Kind::Deployment | Kind::Rollout => self.acts_on_workload(act),
        }
    }

    fn tool(&self, tool: Tool, model: &Model) -> Result<Option<Output>, String> {
        let space = self.space.name();
        match tool {
            Tool::Kubectl => {
                runs(self.cluster.kubectl().args(["rollout", "undo", "deployment/shop", "-n", space]))
            }
            Tool::Argo => runs(self.cluster.argo().args(["undo", "shop", "-n", space])),
            Tool::HelmPrevious => runs(&mut self.rollback(None)),
            Tool::HelmFirst => runs(&mut self.rollback(Some(1))),
            Tool::HelmSuperseded => match &model.shape {
                Shape::Helm(helm) => match self.superseded()? {
                    found if found != helm.superseded() => Err(format!(
                        "the newest superseded is {found:?}, by the model {:?}",
                        helm.superseded()
                    )),
                    Some(found) => runs(&mut self.rollback(Some(found))),
                    None => return Ok(None),
                },
                Shape::Deployment(_) | Shape::Rollout(_) => return Ok(None),
            },
        }
        .map(Some)
    }

    /// Waits until it is as the model has it.
    fn settles(&self, after: &str) -> Result<(), String> {
        match &self.model.shape {
            Shape::Helm(helm) => self.is_kept_as(helm, after),
            Shape::Deployment(_) | Shape::Rollout(_) => self.is_as_modelled(after),
        }
    }

    /// What only Helm says of it.
    fn is_told_alike(&self) -> Result<(), String> {
        match &self.model.shape {
            Shape::Helm(helm) => self.is_described_as(helm),
            Shape::Deployment(_) | Shape::Rollout(_) => Ok(()),
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // What stays costs the others: pods that crash are looked after for as long as they are there.
        let _ = self.cluster.api().delete(&format!("/api/v1/namespaces/{}", self.space.name()));
    }
}

fn runs(command: &mut Command) -> Result<Output, String> {
    command.output().map_err(|e| format!("{command:?}: {e}"))
}

fn told(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// Waits until what is seen is what is wanted.
fn becomes<T: PartialEq + Debug>(
    after: &str,
    wanted: &T,
    mut look: impl FnMut() -> Result<T, Refusal>,
) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let seen = look().map_err(told)?;
        if seen == *wanted {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("after {after}: it stays {seen:#?}, and by the model it is {wanted:#?}"));
        }
        thread::sleep(LOOK_AGAIN);
    }
}
