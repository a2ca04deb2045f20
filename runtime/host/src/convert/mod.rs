//! Between the words of `model` and those of the contract.
//!
//! Into a plugin goes what is known to be good, so only its size is checked, and a size that doesn't fit is no
//! fault of the plugin. What comes out is believed in nothing: [`Bad`] says what is wrong with it.

mod effects;
mod facts;

use backstay_model::{Digest, Name, Release};

pub(crate) use effects::{event, stepped};
pub(crate) use facts::{decided, facts};

use crate::{CallError, Description, Kind, Problem, SettingInfo, bindings::common};

/// The longest text of a plugin for people, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 512;

const SETTINGS_MAX: usize = 64;
const PROBLEMS_MAX: usize = 64;

/// What is wrong with what a plugin returned.
#[derive(Debug)]
pub(crate) struct Bad(pub(crate) String);

/// An error if there is more than there may be.
pub(crate) fn at_most(what: &'static str, has: usize, most: usize) -> Result<(), CallError> {
    if has <= most { Ok(()) } else { Err(CallError::TooLarge { what: what.into(), has, most }) }
}

/// A plugin's text for people: bounded, and on one line, so that it can't pass for something else in a log.
pub(crate) fn text(text: &str, bytes_max: usize) -> String {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let (kept, _) = text.split_at(end);
    kept.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn bound(what: &str, has: usize, most: usize) -> Result<(), Bad> {
    if has <= most { Ok(()) } else { Err(Bad(format!("{has} {what}, at most {most} are allowed"))) }
}

fn name(text: &str) -> Result<Name, Bad> {
    Name::parse(text).map_err(|error| Bad(error.to_string()))
}

fn digest(text: &str) -> Result<Digest, Bad> {
    text.parse().map_err(|_| Bad(format!("{:?} is no SHA-256 digest", self::text(text, 80))))
}

fn release_out(release: &common::Release) -> Result<Release, Bad> {
    Ok(Release {
        version: release
            .version
            .parse()
            .map_err(|error: backstay_model::NameError| Bad(error.to_string()))?,
        digest: digest(&release.digest)?,
        length: release.length,
        security_epoch: release.security_epoch,
    })
}

fn release_in(release: &Release) -> common::Release {
    common::Release {
        version: release.version.to_string(),
        digest: release.digest.to_string(),
        length: release.length,
        security_epoch: release.security_epoch,
    }
}

pub(crate) fn problems(problems: Vec<common::Problem>) -> Result<Vec<Problem>, Bad> {
    bound("problems", problems.len(), PROBLEMS_MAX)?;
    let problem = |problem: common::Problem| {
        let setting = problem.setting.as_deref().map(name).transpose()?;
        Ok(Problem { setting, text: text(&problem.text, TEXT_BYTES_MAX) })
    };
    problems.into_iter().map(problem).collect()
}

pub(crate) fn description(told: common::Description) -> Result<Description, Bad> {
    bound("settings", told.settings.len(), SETTINGS_MAX)?;
    let mut settings: Vec<SettingInfo> = Vec::with_capacity(told.settings.len());
    for info in told.settings {
        let name = name(&info.name)?;
        if settings.iter().any(|before| before.name == name) {
            return Err(Bad(format!("setting {name} is described twice")));
        }
        let kind = match info.kind {
            common::Kind::Text => Kind::Text,
            common::Kind::Number => Kind::Number,
            common::Kind::Flag => Kind::Flag,
            common::Kind::Texts => Kind::Texts,
        };
        let default = info.default.map(crate::Value::from);
        if default.as_ref().is_some_and(|default| default.kind() != kind) {
            return Err(Bad(format!("the default of setting {name} is of another kind")));
        }
        settings.push(SettingInfo {
            name,
            kind,
            default,
            range: info.range.map(|span| span.least..=span.most),
            secret: info.secret,
            help: text(&info.help, TEXT_BYTES_MAX),
        });
    }
    Ok(Description { about: text(&told.about, TEXT_BYTES_MAX), settings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_short_and_on_its_line() {
        assert_eq!(text("a\nb\x1b[31m\0", 512), "a b [31m ");
        assert_eq!(text("ääää", 5), "ää");
        assert_eq!(text("", 0), "");
    }
}
