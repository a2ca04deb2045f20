//! `lkg commit`: a signed bundle goes into the Git checkout that it is in.
//!
//! Here: that the commit holds the bundle's files and nothing else, on the branch that was meant, and byte for byte what was signed. Not
//! here: who may push there, which is Git's business.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::{
    bundle::{Believed, Checked, Folder},
    document::Known,
    git::Git,
};
use crate::{Desk, Exit, Failure, file, table::Table};

#[derive(Debug, Args)]
pub(crate) struct Commit {
    #[command(flatten)]
    pub(super) believed: Believed,
    /// The branch that the checkout has to be on
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(super) branch: String,
    /// Push it, to where Git has the branch go
    #[arg(long)]
    pub(super) push: bool,
}

#[derive(Serialize)]
struct Committed<'a> {
    release: &'a Known,
    bundle: PathBuf,
    branch: &'a str,
    commit: String,
    changed: bool,
    pushed: bool,
}

impl Commit {
    pub(super) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        let Checked { document, .. } = self.believed.check()?;
        let folder = &self.believed.folder;
        let git = Git::at(folder.path());
        self.fits(&git)?;
        let changed = stage(&git, folder)?;
        if changed {
            let subject = format!(
                "Keep the configuration of {} {} as known to be good",
                document.service, document.release.version
            );
            let body = format!("Release {}", document.release.digest);
            let arguments = ["commit", "--quiet", "-m", &subject, "-m", &body, "--"];
            if let Err(failure) = git.says(&[&arguments[..], &Folder::FILES[..]].concat()) {
                unstage(&git);
                return Err(failure);
            }
        }
        let commit = git.line(&["rev-parse", "HEAD"])?;
        if self.push {
            git.says(&["push", "--quiet"]).map_err(|failure| {
                failure
                    .ending(Exit::Unreachable)
                    .help("the commit is there; fetch what is new, and push again")
            })?;
        }
        let (release, bundle, branch, pushed) =
            (&document.release, folder.path().to_owned(), &*self.branch, self.push);
        let committed = Committed { release, bundle, branch, commit, changed, pushed };
        desk.printer.show("lkg-commit", &committed, || committed.table())?;
        if !self.push {
            desk.printer.say("nothing was pushed: --push does");
        }
        Ok(Exit::Done)
    }

    /// Looks that a commit here would be one of the bundle, and of nothing else.
    fn fits(&self, git: &Git<'_>) -> Result<(), Failure> {
        let refused = |what: String, help: &str| Err(Failure::new(Exit::Refused, what).help(help));
        git.line(&["rev-parse", "--show-toplevel"]).map_err(|failure| {
            failure
                .ending(Exit::Usage)
                .help("a bundle is a folder in a Git checkout: clone it, and capture into it")
        })?;
        let branch = git.line(&["symbolic-ref", "--quiet", "--short", "HEAD"]).unwrap_or_default();
        if branch != self.branch {
            let at = if branch.is_empty() { "no branch".into() } else { format!("branch {branch}") };
            let what = format!("the checkout is on {at}, and {} was named", self.branch);
            return refused(what, "switch to it, or name another one with --branch");
        }
        for head in ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"] {
            if git.is(&["rev-parse", "--quiet", "--verify", head])? {
                return refused(
                    format!("the checkout is in the middle of something: there is a {head}"),
                    "end it first",
                );
            }
        }
        if !git.is(&["diff", "--cached", "--quiet"])? {
            return refused(
                "something else is staged in this checkout".into(),
                "commit it first, or take it back: git reset",
            );
        }
        Ok(())
    }
}

/// Stages the files, and says whether they are others than before.
fn stage(git: &Git<'_>, folder: &Folder) -> Result<bool, Failure> {
    git.says(&[&["add", "--"], &Folder::FILES[..]].concat())?;
    let as_signed = || {
        for name in Folder::FILES {
            let staged = git.says(&["cat-file", "blob", &format!(":./{name}")])?;
            // As large as the largest of them.
            if staged != file::read(&folder.path().join(name), super::document::Document::BYTES_MAX)? {
                let what = format!("git would store other bytes for {name} than were signed");
                return Err(Failure::new(Exit::Refused, what).help(
                    "see what filters and attributes the checkout has: git check-attr --all lkg.json",
                ));
            }
        }
        Ok(!git.is(&[&["diff", "--cached", "--quiet", "--"], &Folder::FILES[..]].concat())?)
    };
    as_signed().inspect_err(|_| unstage(git))
}

/// Takes back what was staged. If it can't be, the next attempt is told that something is staged.
fn unstage(git: &Git<'_>) {
    drop(git.says(&[&["reset", "--quiet", "--"], &Folder::FILES[..]].concat()));
}

impl Committed<'_> {
    fn table(&self) -> String {
        let mut list = Table::list();
        list.say("release", &self.release.version);
        list.say("branch", self.branch);
        list.say(
            "commit",
            format_args!("{}{}", self.commit, if self.changed { "" } else { ", nothing new" }),
        );
        list.say("pushed", if self.pushed { "yes" } else { "no" });
        list.to_string()
    }
}
