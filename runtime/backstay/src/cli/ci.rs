//! `backstay verdict`: asks what a build is to do, and writes the answer down for the steps after it.
//!
//! Here: that there is a file if and only if there is an answer to this question. Not here: whether the build goes on
//! because of it (`gate`). What a cohort's rollout comes to is another thing (`verdict`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backstay_api::SignedVerdict;
use backstay_model::Nonce;
use clap::Args;

use crate::{
    Desk, Exit, Failure, file,
    printer::Output,
    question::{Question, nonce},
    text::plain,
};

/// Ask what a build of a service is to do: 0 says that a verdict was written, 2 that there is none
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  backstay verdict --service checkout --build 1812 --metrics metrics.json --out verdict.json\n  \
    backstay verdict --service checkout --build 1812 --version 2.0.0 --keyring /etc/backstay/keyring --output json\n\n\
    Exit codes: 0 a verdict was written, whatever it says; 2 there is none, for whatever reason: treat it as a freeze. With \
    2 there is no file either: an older one is removed before the server is asked.\n\
    It says nothing about going on: \"backstay gate --verdict verdict.json\" checks it, and answers by its exit code."
)]
pub(crate) struct Ask {
    #[command(flatten)]
    question: Question,
    /// Whom to believe. With it, a verdict that isn't signed as the keyring asks is none
    #[arg(long, value_name = "FILE", env = "BACKSTAY_KEYRING")]
    keyring: Option<PathBuf>,
    /// Where the verdict goes: whole, or not at all
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the question's nonce goes, for "backstay gate": beside the verdict if it is left out
    #[arg(long, value_name = "FILE", requires = "out")]
    nonce_file: Option<PathBuf>,
}

impl Ask {
    pub(crate) fn run(&self, desk: &Desk) -> Result<Exit, Failure> {
        // One number for all that can go wrong: a pipeline that tells them apart has a case more to get wrong.
        self.write(desk).map_err(|failure| failure.ending(Exit::Usage))
    }

    fn write(&self, desk: &Desk) -> Result<Exit, Failure> {
        let nonce_file = self.out.as_deref().map(|out| nonce_path(out, self.nonce_file.as_deref()));
        // Before anything else: however this ends, what is there afterwards is an answer to this question.
        for path in self.out.iter().chain(&nonce_file) {
            remove(path)?;
        }
        let keyring = self.keyring.as_deref().map(file::read_keyring).transpose()?;
        let nonce = nonce()?;
        let document = self.question.ask(&self.question.client(desk)?, nonce)?;
        if let Some(keyring) = keyring {
            document.verify(&keyring).map_err(|why| {
                let help = why.help();
                Failure::new(Exit::Untrusted, "the server's verdict is none to go by")
                    .why(why)
                    .maybe_help(help)
            })?;
        }
        let asked = self.question.asked(nonce);
        if (&document.service, &document.build, document.nonce) != (&asked.service, &asked.build, asked.nonce)
        {
            return Err(Failure::new(Exit::Untrusted, "the server's verdict answers another question")
                .help("see what stands between here and the server"));
        }
        let json = pretty(&document)?;
        match desk.printer.output() {
            Output::Json => desk.printer.write(&json)?,
            Output::Table => desk.printer.write(&told(&document))?,
        }
        if let (Some(out), Some(nonce_file)) = (&self.out, &nonce_file) {
            file::write(nonce_file, format!("{nonce}\n").as_bytes())?;
            file::write(out, json.as_bytes())?;
        }
        Ok(Exit::Done)
    }
}

/// Where the nonce of the verdict in `out` is.
pub(crate) fn nonce_path(out: &Path, named: Option<&Path>) -> PathBuf {
    let beside = || {
        let mut name = out.as_os_str().to_owned();
        name.push(".nonce");
        name.into()
    };
    named.map_or_else(beside, Path::to_owned)
}

/// A nonce that was kept.
pub(crate) fn read_nonce(path: &Path) -> Result<Nonce, Failure> {
    let bytes = file::read(path, 64)?;
    std::str::from_utf8(&bytes).unwrap_or_default().trim().parse().map_err(|why| {
        Failure::new(Exit::NoVerdict, format!("{} holds no nonce", path.display()))
            .why(why)
            .help("\"backstay verdict --out\" writes it")
    })
}

/// Takes an older verdict away, if there is one.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let what = format!("{} is an older verdict's, and can't be removed", path.display());
            Err(Failure::new(Exit::Trouble, what).why(error).help("name another place with --out"))
        }
    }
}

/// The document as it is kept: it has a version of its own, so nothing is wrapped around it.
pub(crate) fn pretty(document: &SignedVerdict) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|why| Failure::new(Exit::Trouble, "cannot write JSON").why(why))?;
    Ok(text + "\n")
}

/// A verdict for people: what, why, and where to read on.
pub(crate) fn told(document: &SignedVerdict) -> String {
    let mut reasons = document.reasons.iter().map(|reason| plain(reason));
    let first = reasons.next().unwrap_or_default();
    let mut text = match document.wait_secs {
        0 => format!("{}: {first}\n", document.action),
        secs => format!("{}, ask again in {secs} s: {first}\n", document.action),
    };
    for reason in reasons {
        text.push_str(&format!("  because: {reason}\n"));
    }
    if let Some(evidence) = &document.evidence {
        text.push_str(&format!("  more:    {}\n", plain(evidence)));
    }
    text
}
