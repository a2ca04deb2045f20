//! A model of any of the three, and what its controller and its tool do with it.

use super::{Act, Answer, Deployment, Helm, Kind, Product, Rollout, Setup, Template, Tool};

/// What is modelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A Helm release.
    Helm(Helm),
    /// A Deployment.
    Deployment(Deployment),
    /// A Rollout.
    Rollout(Rollout),
}

/// A workload as it stands after some acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What is known of it.
    pub shape: Shape,
}

impl Model {
    /// The first release.
    #[must_use]
    pub fn new(kind: Kind, product: &Product, setup: Setup) -> Self {
        let first = Template::default();
        let shape = match kind {
            Kind::Helm => Shape::Helm(Helm::new(product, setup, first)),
            Kind::Deployment => Shape::Deployment(Deployment::new(product, setup, first)),
            Kind::Rollout => Shape::Rollout(Rollout::new(product, setup, first)),
        };
        Self { shape }
    }

    /// Something happens to it.
    pub fn acts(&mut self, product: &Product, act: &Act) -> Answer {
        match &mut self.shape {
            Shape::Helm(it) => it.acts(product, act),
            Shape::Deployment(it) => it.acts(product, act),
            Shape::Rollout(it) => it.acts(product, act),
        }
    }

    /// A person asks a tool for a way back.
    pub fn asks(&mut self, product: &Product, tool: Tool) -> Answer {
        match (&mut self.shape, tool) {
            (Shape::Helm(it), Tool::HelmPrevious | Tool::HelmFirst | Tool::HelmSuperseded) => {
                it.back(product, tool)
            }
            (Shape::Deployment(it), Tool::Kubectl) => it.undo(product),
            (Shape::Rollout(it), Tool::Argo) => it.undo(product),
            (Shape::Helm(_) | Shape::Deployment(_) | Shape::Rollout(_), _) => Answer::Refused,
        }
    }

    /// The template that is asked for now.
    #[must_use]
    pub fn current(&self) -> Template {
        match &self.shape {
            Shape::Helm(it) => it.current(),
            Shape::Deployment(it) => it.current(),
            Shape::Rollout(it) => it.current(),
        }
    }

    /// The newest release that has traffic, and how much of it in permille: what an executor says that looks.
    #[must_use]
    pub fn out(&self) -> (usize, u16) {
        (self.serves().release, if self.has_canary() { 500 } else { 1000 })
    }

    /// The template of the newest release that has traffic.
    #[must_use]
    pub fn serves(&self) -> Template {
        match &self.shape {
            Shape::Rollout(it) if !it.has_canary() => it.stable().unwrap_or(it.current()),
            Shape::Helm(_) | Shape::Deployment(_) | Shape::Rollout(_) => self.current(),
        }
    }

    /// Whether a canary waits for somebody to go on or to give it up.
    #[must_use]
    pub fn has_canary(&self) -> bool {
        match &self.shape {
            Shape::Helm(_) | Shape::Deployment(_) => false,
            Shape::Rollout(it) => it.has_canary(),
        }
    }
}
