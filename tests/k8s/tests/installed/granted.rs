//! What Roles grant, and which of it was used.
//!
//! Kubernetes adds rights up: nothing is ever taken away by another rule. So a right is needed if something was asked for that no other
//! right allows, and that can be told from what was asked, without taking any away.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where. Empty: in the whole cluster.
    pub space: String,
    pub group: String,
    /// With a part of it, where it is one: `pods/eviction`.
    pub resource: String,
    /// Which object. Empty: any.
    pub name: String,
    pub verb: String,
}

/// Something that was asked of the API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    pub space: String,
    pub group: String,
    pub resource: String,
    pub name: String,
    pub verb: String,
    /// As it was answered.
    pub code: u64,
}

/// What Kubernetes lets everybody ask who has an account at all.
const EVERYBODYS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];

impl Right {
    /// All that a Role or a ClusterRole grants.
    pub fn of(role: &Value) -> Vec<Self> {
        let texts = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        let space = role["metadata"]["namespace"].as_str().unwrap_or_default();
        let mut rights = Vec::new();
        for rule in role["rules"].as_array().into_iter().flatten() {
            let mut names = texts(&rule["resourceNames"]);
            if names.is_empty() {
                names.push(String::new());
            }
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for name in &names {
                        for verb in texts(&rule["verbs"]) {
                            rights.push(Self {
                                space: space.into(),
                                group: group.clone(),
                                resource: resource.clone(),
                                name: name.clone(),
                                verb,
                            });
                        }
                    }
                }
            }
        }
        rights
    }

    fn allows(&self, asked: &Asked) -> bool {
        (self.space.is_empty() || self.space == asked.space)
            && (&self.group, &self.resource, &self.verb) == (&asked.group, &asked.resource, &asked.verb)
            && (self.name.is_empty() || self.name == asked.name)
    }
}

impl Asked {
    /// What somebody asked for, each once, as the audit log has it.
    pub fn by(account: &str, log: &[Value]) -> Vec<Self> {
        let theirs = log.iter().filter(|event| event["user"]["username"] == account);
        let of = |event: &Value| {
            let about = event.get("objectRef")?;
            let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
            let part = about["subresource"].as_str().map(|part| format!("/{part}")).unwrap_or_default();
            Some(Self {
                space: text("namespace"),
                group: text("apiGroup"),
                resource: text("resource") + &part,
                name: text("name"),
                verb: event["verb"].as_str()?.to_owned(),
                code: event["responseStatus"]["code"].as_u64()?,
            })
        };
        let mut all: BTreeSet<Self> = theirs.filter_map(of).collect();
        // A patch may make an object. Then the API server looks for that right, too, and doesn't write it down.
        let made = all.iter().filter(|asked| asked.verb == "patch" && asked.code == 201);
        let made: Vec<Self> = made.map(|asked| Self { verb: "create".into(), ..asked.clone() }).collect();
        all.extend(made);
        all.into_iter().filter(|asked| !EVERYBODYS.contains(&asked.group.as_str())).collect()
    }
}

/// What was refused for want of a right.
pub fn refused(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|asked| asked.code == 403).collect()
}

/// Rights without which everything would have gone as it did: nothing was asked for that they alone allow.
pub fn spare<'r>(rights: &'r [Right], asked: &[Asked]) -> Vec<&'r Right> {
    let needed: Vec<&Right> = asked
        .iter()
        .filter_map(|asked| {
            let mut allow = rights.iter().filter(|right| right.allows(asked));
            let first = allow.next()?;
            allow.next().is_none().then_some(first)
        })
        .collect();
    rights.iter().filter(|right| !needed.contains(right)).collect()
}

fn shown(f: &mut fmt::Formatter<'_>, [verb, group, resource, space, name]: [&str; 5]) -> fmt::Result {
    let dot = if group.is_empty() { "" } else { "." };
    let space = if space.is_empty() { "everywhere" } else { space };
    write!(f, "{verb} {resource}{dot}{group} {name} in {space}")
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, [&self.verb, &self.group, &self.resource, &self.space, &self.name])
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(f, [&self.verb, &self.group, &self.resource, &self.space, &self.name])
    }
}

/// One on each line.
pub fn lines(all: &[impl fmt::Display]) -> String {
    all.iter().map(|one| format!("  {one}\n")).collect()
}
