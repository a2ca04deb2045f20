//! Helm releases, played and looked at.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
};

use serde_json::{Value, json};

use super::{LOOK_AGAIN, Stage, objects, runs, told};
use crate::histories::{Act, Helm, HelmVersion, Shipping, Status, Template};

/// How long is waited for pods that come up.
const LONG: &str = "60s";
/// How long for those that don't.
const SHORT: &str = "1500ms";
/// How long where Helm goes back by itself afterwards: it waits for that as long.
const BOTH: &str = "6s";

impl Stage<'_> {
    fn helm(&self, args: &[&str]) -> Command {
        let mut helm = match self.history.setup.helm {
            HelmVersion::Three => self.cluster.helm3(),
            HelmVersion::Four => self.cluster.helm4(),
        };
        helm.args(args).args(["--namespace", self.space.name()]);
        helm
    }

    fn chart(&self) -> String {
        self.folder.path().join("chart").display().to_string()
    }

    /// The first release.
    pub(super) fn installs(&self) -> Result<(), String> {
        let folder = self.folder.path().join("chart");
        fs::create_dir_all(folder.join("templates")).map_err(told)?;
        for (name, text) in objects::chart() {
            fs::write(folder.join(name), text).map_err(told)?;
        }
        let first = Template::default();
        let fails = !self.history.product.comes_up(&first) && self.history.setup.first == Shipping::Waits;
        let mut helm = self.helm(&["install", "shop", &self.chart()]);
        helm.args(objects::values(&self.history.product, &first));
        helm.args(self.waits(self.history.setup.first, &first));
        let out = runs(&mut helm)?;
        if out.status.success() == fails {
            return Err(format!("helm install: {}", String::from_utf8_lossy(&out.stderr)));
        }
        Ok(())
    }

    fn waits(&self, how: Shipping, template: &Template) -> Vec<&'static str> {
        let comes_up = self.history.product.comes_up(template);
        let timeout = if comes_up { LONG } else { SHORT };
        match (how, self.history.setup.helm) {
            (Shipping::Plain, _) => Vec::new(),
            (Shipping::Waits, _) => vec!["--wait", "--timeout", timeout],
            (Shipping::Killed, _) => vec!["--wait", "--timeout", LONG],
            (Shipping::Atomic, version) => {
                let atomic = match version {
                    HelmVersion::Three => "--atomic",
                    HelmVersion::Four => "--rollback-on-failure",
                };
                vec![atomic, "--timeout", if comes_up { LONG } else { BOTH }]
            }
        }
    }

    /// `helm rollback`, as a person types it.
    pub(super) fn rollback(&self, to: Option<u64>) -> Command {
        let to = to.map(|to| to.to_string());
        let mut helm = self.helm(&["rollback", "shop"]);
        helm.args(to).args(self.history_max());
        helm
    }

    fn history_max(&self) -> [String; 2] {
        ["--history-max".into(), self.history.setup.limit.to_string()]
    }

    /// Does it. The model has done it already.
    pub(super) fn acts_by_helm(&self, act: &Act) -> Result<bool, String> {
        let mut helm = match *act {
            Act::Ships { release, config, how } => {
                let template = Template { release, config, restart: 0 };
                let mut helm = self.helm(&["upgrade", "shop", &self.chart()]);
                helm.args(objects::values(&self.history.product, &template)).args(self.history_max());
                helm.args(self.waits(how, &template));
                if how == Shipping::Killed {
                    return self.is_killed(&mut helm, &template);
                }
                helm
            }
            Act::Undoes => self.rollback(None),
            Act::GoesHome { revision } => {
                let comes_up = self.history.product.comes_up(&self.model.current());
                let mut helm = self.helm(&["rollback", "shop", &revision.to_string(), "--history-max", "0"]);
                helm.args(["--wait", "--timeout", if comes_up { LONG } else { SHORT }]);
                helm
            }
            Act::Restarts => {
                let number =
                    self.cluster.api().get(&self.deployment()).map_err(told)?["metadata"]["generation"]
                        .clone();
                let at = objects::restarted(number.as_u64().and_then(|it| it.try_into().ok()).unwrap_or(0));
                let annotations = json!({ (objects::RESTARTED): at });
                let change = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
                self.cluster.api().merge(&self.deployment(), &change).map_err(told)?;
                return Ok(true);
            }
            // None of it is Helm's.
            Act::Promotes | Act::Aborts | Act::Forgets { .. } | Act::Pauses => return Ok(true),
        };
        let out = runs(&mut helm)?;
        let said = String::from_utf8_lossy(&out.stderr);
        // What it wouldn't begin is refused; what it began and what failed is seen in its records.
        let is_refused =
            ["another operation", "has no 0 version", "release has no"].iter().any(|it| said.contains(it));
        Ok(out.status.success() || !is_refused)
    }

    fn deployment(&self) -> String {
        self.space.path(objects::APPS, "deployments/shop")
    }

    /// Kills it while it waits for pods, if it gets that far.
    fn is_killed(&self, helm: &mut Command, template: &Template) -> Result<bool, String> {
        let Some(newest) = self.records()?.pop() else { return Err("there is no record".into()) };
        let mut helm = helm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(told)?;
        loop {
            if helm.try_wait().map_err(told)?.is_some() {
                // It didn't wait: it was refused.
                return Ok(false);
            }
            let begun = self.records()?.pop().is_some_and(|it| it.0 > newest.0 && it.1 == "pending-upgrade");
            if begun && self.current()? == *template {
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        helm.kill().map_err(told)?;
        helm.wait().map_err(told)?;
        Ok(true)
    }

    /// What is kept: numbers and what is said of each, oldest first.
    fn records(&self) -> Result<Vec<(u64, String)>, String> {
        let path = self.space.path("v1", "secrets?labelSelector=owner%3Dhelm%2Cname%3Dshop");
        let found = self.cluster.api().list(&path).map_err(told)?;
        let one = |secret: &Value| {
            let label =
                |name: &str| secret["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned();
            (label("version").parse().unwrap_or(0), label("status"))
        };
        let mut records: Vec<_> = found.iter().map(one).collect();
        records.sort();
        Ok(records)
    }

    pub(super) fn is_kept_as(&self, helm: &Helm, after: &str) -> Result<(), String> {
        let records: Vec<_> =
            helm.records().iter().map(|it| (it.number, it.status.told().to_owned())).collect();
        let wanted = (helm.current(), records);
        // Whatever it does is done when it ends.
        let seen = (self.current()?, self.records()?);
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("after {after}: {seen:#?}, and by the model {wanted:#?}"))
        }
    }

    fn history_told(&self) -> Result<Vec<Value>, String> {
        let out = runs(&mut self.helm(&["history", "shop", "--output", "json"]))?;
        serde_json::from_slice(&out.stdout).map_err(told)
    }

    /// The newest revision that `helm history` calls superseded.
    pub(super) fn superseded(&self) -> Result<Option<u64>, String> {
        let history = self.history_told()?;
        let superseded = history.iter().rev().find(|it| it["status"] == Status::Superseded.told());
        Ok(superseded.and_then(|it| it["revision"].as_u64()))
    }

    /// What our executor reads of each revision.
    pub(super) fn is_described_as(&self, helm: &Helm) -> Result<(), String> {
        // Why something failed is told in many words.
        let cut = |text: &str| text.split_once("failed: ").map_or(text, |(what, _)| what).to_owned();
        let is_four = self.history.setup.helm == HelmVersion::Four;
        let wanted: Vec<_> = helm
            .records()
            .iter()
            .map(|it| (it.number, cut(&it.description()), it.back_to.filter(|_| is_four).unwrap_or(0)))
            .collect();
        let seen: Vec<_> = self
            .history_told()?
            .iter()
            .map(|it| {
                let number = |name: &str| it[name].as_u64().unwrap_or(0);
                let description = it["description"].as_str().unwrap_or_default();
                (number("revision"), cut(description), number("rollback_revision"))
            })
            .collect();
        if seen == wanted {
            Ok(())
        } else {
            Err(format!("it is told as {seen:#?}, and by the model {wanted:#?}"))
        }
    }
}
