//! Which release each revision runs, as far as that was asked.
//!
//! By the image of its workload, as its manifest has it, or by what the settings name. What a revision is never changes, so each is asked
//! about once in a run. Not here: which revision is wanted (`judge`).

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};

use backstay_kubernetes::{
    api::escaped,
    json::{Value, json},
    template::{Pin, Told, VERSION_LABEL},
};
use backstay_sdk::executor::{Failed, Release, permanent};

use crate::{
    config::{DIGEST_FROM, VERSION_FROM, WORKLOAD},
    desk::{Desk, ended},
    history::{History, Record},
};

/// So many are asked about at once.
const AT_ONCE: usize = 4;

/// What was wanted: a release, or the one that something runs already.
#[derive(Clone, Debug)]
pub(crate) enum Wanted<'w> {
    Release(&'w Release),
    Same(Told),
}

/// What revisions run.
#[derive(Default)]
pub(crate) struct Book {
    /// `None`: it doesn't say.
    known: BTreeMap<u32, Option<Told>>,
    /// What its manifest runs, whatever says which release that is.
    images: BTreeMap<u32, Option<Told>>,
}

impl Wanted<'_> {
    pub(crate) fn is(&self, told: &Told) -> bool {
        match self {
            Self::Release(release) => told.is(release),
            Self::Same(same) => is_same(same, told),
        }
    }
}

/// Whether both run the same: an image is what it is, whatever labels stand beside it.
pub(crate) fn is_same(one: &Told, other: &Told) -> bool {
    if one.image.is_empty() { one == other } else { one.image == other.image }
}

impl Book {
    /// What a revision runs, if that was asked.
    pub(crate) fn told(&self, revision: u32) -> Option<&Told> {
        self.known.get(&revision).and_then(Option::as_ref)
    }

    /// The best way back to what is wanted, where these revisions were brought back in vain. What the newest revision of all runs is asked, too.
    pub(crate) async fn find(
        &mut self,
        desk: &Desk<'_>,
        history: &History,
        wanted: &Wanted<'_>,
        failed: &[u32],
    ) -> Result<Option<u32>, Failed> {
        let ways = history.ways_after(failed);
        // Nearly always the newest one and the best way are all that has to be known.
        let first = usize::from(ways.first().is_some_and(|way| way.revision == history.newest().revision));
        let (best, others) = ways.split_at(ways.len().min(first + 1));
        let mut asked: Vec<&Record> = vec![history.newest()];
        asked.extend(best);
        for next in [best].into_iter().chain(others.chunks(AT_ONCE)) {
            asked.extend(next);
            self.learn(desk, &asked).await?;
            asked.clear();
            let runs = |way: &&&Record| self.told(way.revision).is_some_and(|told| wanted.is(told));
            if let Some(found) = next.iter().find(runs) {
                return Ok(Some(found.revision));
            }
        }
        Ok(None)
    }

    /// Asks about those that aren't known yet.
    pub(crate) async fn learn(&mut self, desk: &Desk<'_>, records: &[&Record]) -> Result<(), Failed> {
        let mut unknown: Vec<&Record> = Vec::new();
        for record in records {
            let is_new = !self.known.contains_key(&record.revision)
                && !unknown.iter().any(|one| one.revision == record.revision);
            if is_new {
                unknown.push(record);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        match VERSION_FROM.of(desk.config()) {
            "app-version" => {
                self.note(&unknown, |it| Some(it.app_version.as_str()).filter(|text| !text.is_empty()))
            }
            "chart-version" => self.note(&unknown, Record::chart_version),
            "image" => {
                self.by_image(desk, &unknown).await?;
                for record in unknown {
                    let image = self.images.get(&record.revision).cloned().flatten();
                    self.known.insert(record.revision, image);
                }
            }
            from => self.by_value(desk, from.strip_prefix("value:").unwrap_or_default(), &unknown).await?,
        }
        Ok(())
    }

    /// What the manifest of a revision runs, to be held against what is live.
    pub(crate) async fn image(&mut self, desk: &Desk<'_>, record: &Record) -> Result<Option<&Told>, Failed> {
        if !self.images.contains_key(&record.revision) && desk.workload.is_some() {
            self.by_image(desk, &[record]).await?;
        }
        Ok(self.images.get(&record.revision).and_then(Option::as_ref))
    }

    fn note(&mut self, records: &[&Record], version: impl Fn(&Record) -> Option<&str>) {
        for record in records {
            let told = version(record).map(|version| told(version, Pin::None));
            self.known.insert(record.revision, told);
        }
    }

    /// `3 deployment/shop app registry/shop:1.5.0 1.5.0`, a line for each container.
    async fn by_image(&mut self, desk: &Desk<'_>, records: &[&Record]) -> Result<(), Failed> {
        let config = desk.config();
        let label = match VERSION_LABEL.of(config) {
            "" => "app.kubernetes.io/version",
            label => label,
        };
        let workload = match WORKLOAD.of(config) {
            "" => "-",
            workload => workload,
        };
        let mut args = vec![workload.into(), escaped(label)];
        args.extend(records.iter().map(|record| record.revision.to_string()));
        let lines = desk.look("images", args).await?;
        let (_, lines) = ended("images", &lines, "end")?;
        for record in records {
            let revision = record.revision.to_string();
            let of_it: Vec<Vec<&str>> = lines
                .iter()
                .map(|line| line.split(' ').collect::<Vec<&str>>())
                .filter(|line| line.first() == Some(&revision.as_str()))
                .collect();
            let told = template(&of_it, label)?.and_then(|it| Told::of(&it, config));
            self.images.insert(record.revision, told);
        }
        Ok(())
    }

    /// `3 1.5.0`, a line for each revision.
    async fn by_value(&mut self, desk: &Desk<'_>, path: &str, records: &[&Record]) -> Result<(), Failed> {
        let versions = values(desk, path, records).await?;
        let digests = match DIGEST_FROM.of(desk.config()) {
            "" => BTreeMap::new(),
            path => values(desk, path, records).await?,
        };
        for record in records {
            let digest = digests.get(&record.revision).map_or("", String::as_str);
            let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
            let is_digest = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            let pin = if is_digest { Pin::Sha256(hex.to_ascii_lowercase()) } else { Pin::None };
            let told = versions.get(&record.revision).map(|version| told(version, pin));
            self.known.insert(record.revision, told);
        }
        Ok(())
    }
}

fn told(version: &str, pin: Pin) -> Told {
    Told { image: String::new(), version: Some(version.into()), pin }
}

async fn values(desk: &Desk<'_>, path: &str, records: &[&Record]) -> Result<BTreeMap<u32, String>, Failed> {
    let mut args = vec![format!("/{}", path.replace('.', "/"))];
    args.extend(records.iter().map(|record| record.revision.to_string()));
    let lines = desk.look("values", args).await?;
    let (_, lines) = ended("values", &lines, "end")?;
    let pairs = lines.iter().filter_map(|line| {
        let (revision, value) = line.split_once(' ')?;
        (value != "-").then(|| Some((revision.parse().ok()?, value.into())))?
    });
    Ok(pairs.collect())
}

/// The pod template of the one workload that the lines tell of, as far as they do. `None`: they tell of none, or say that the manifest
/// can't be read.
fn template(lines: &[Vec<&str>], label: &str) -> Result<Option<Value>, Failed> {
    let mut of: Option<&str> = None;
    let (mut containers, mut version) = (Vec::new(), "-");
    for line in lines {
        let [_, workload, container, image, says] = line.as_slice() else { return Ok(None) };
        if of.is_some_and(|of| of != *workload) {
            return Err(permanent(
                "the manifest has more than one workload: the setting workload names the one that is the product",
            ));
        }
        of = Some(workload);
        version = says;
        containers.push(json!({ "name": container, "image": image }));
    }
    let labels = if version == "-" { json!({}) } else { json!({ label: version }) };
    Ok(of.map(|_| json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Vec<&str>> {
        text.lines().map(|line| line.split(' ').collect()).collect()
    }

    #[test]
    fn containers_are_those_of_one_workload() {
        let said = "3 deployment/shop app reg/shop:1.5.0 1.5\n3 deployment/shop log reg/log:1 1.5";
        let it = template(&lines(said), "v").unwrap().unwrap();
        let expected = json!({
            "metadata": { "labels": { "v": "1.5" } },
            "spec": { "containers": [
                { "name": "app", "image": "reg/shop:1.5.0" },
                { "name": "log", "image": "reg/log:1" },
            ] },
        });
        assert_eq!(it, expected);
        assert_eq!(template(&lines(""), "v").unwrap(), None);
        assert_eq!(template(&lines("3 unreadable a tab stands before its content"), "v").unwrap(), None);
        assert!(template(&lines("3 deployment/a c i -\n3 deployment/b c i -"), "v").is_err());
    }

    #[test]
    fn an_image_is_the_same_whatever_labels_stand_beside_it() {
        let of = |image: &str, version: &str| Told { image: image.into(), ..told(version, Pin::None) };
        assert!(is_same(&of("a:1", "1"), &of("a:1", "one")));
        assert!(!is_same(&of("a:1", "1"), &of("a:2", "1")));
        assert!(is_same(&of("", "1"), &of("", "1")) && !is_same(&of("", "1"), &of("", "2")));
    }
}
