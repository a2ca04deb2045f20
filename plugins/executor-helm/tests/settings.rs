//! The tables of settings in docs/kubernetes.md, held against what the executors themselves say: each setting has one row there, with its
//! default and its bounds, and there is no row of a setting that nobody has.
//!
//! Not here: what a setting means. The page says it in other words than `backstay plugin inspect`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed assumption fails the test")]

use std::{collections::BTreeMap, fs, path::Path};

use backstay_sdk::{
    executor::Executor,
    settings::{SettingInfo, Value},
};
use executor_deployment::Deployment;
use executor_helm::Helm;
use executor_rollouts::Rollouts;

/// What the header of such a table begins with.
const HEADER: &str = "| setting |";
/// The section that has what a release of Helm alone has.
const OF_HELM: &str = "Helm releases";

/// A row of the page.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    default: String,
    bounds: String,
}

/// The rows of all such tables, by setting, each with the section that it stands in.
fn rows(page: &str) -> BTreeMap<String, (String, Row)> {
    let (mut rows, mut section, mut is_table) = (BTreeMap::new(), String::new(), false);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        }
        is_table = line.starts_with(HEADER) || (is_table && line.starts_with('|'));
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let Some(name) = name.filter(|_| is_table) else { continue };
        let [_, _, default, bounds, what, _] = cells[..] else { panic!("{name} has other columns: {line}") };
        assert!(!what.is_empty(), "nothing is said of {name}");
        let row = Row { default: default.into(), bounds: bounds.into() };
        let before = rows.insert(name.to_owned(), (section.clone(), row));
        assert_eq!(before, None, "{name} stands there twice");
    }
    rows
}

/// What the page has to say of a setting.
fn row(info: &SettingInfo) -> Row {
    let default = match &info.default {
        None => "required".into(),
        Some(Value::Text(text)) if text.is_empty() => "none".into(),
        Some(Value::Text(text)) => format!("`{text}`"),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Flag(flag)) => flag.to_string(),
        Some(Value::Texts(texts)) => {
            assert!(texts.is_empty(), "how the page shows the default of {} isn't said here", info.name);
            "none".into()
        }
    };
    let bounds = info.range.map_or_else(String::new, |span| format!("{} to {}", span.least, span.most));
    Row { default, bounds }
}

fn page() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kubernetes.md");
    fs::read_to_string(file).unwrap()
}

#[test]
fn each_setting_stands_in_the_page_as_it_is() {
    let by_executor: [(&str, Vec<SettingInfo>); 3] = [
        ("executor-rollouts", Rollouts::describe().settings),
        ("executor-deployment", Deployment::describe().settings),
        ("executor-helm", Helm::describe().settings),
    ];
    let mut told = rows(&page());
    let mut wrong = Vec::new();
    let mut expected: BTreeMap<&str, (Row, Vec<&str>)> = BTreeMap::new();
    for (executor, settings) in &by_executor {
        for info in settings {
            let (row, have) = expected.entry(&info.name).or_insert_with(|| (row(info), Vec::new()));
            assert_eq!(*row, self::row(info), "{} is another one in {executor}", info.name);
            have.push(executor);
        }
    }
    for (name, (row, have)) in expected {
        let Some((section, there)) = told.remove(name) else {
            wrong.push(format!("{name} is missing: {row:?}"));
            continue;
        };
        if there != row {
            wrong.push(format!("{name} is {row:?}, and the page says {there:?}"));
        }
        // A table says by its place whose settings it has.
        let fits = match have[..] {
            ["executor-helm"] => section == OF_HELM,
            ["executor-rollouts", "executor-deployment", "executor-helm"] => section != OF_HELM,
            _ => false,
        };
        if !fits {
            wrong.push(format!("{name} is of {have:?}, and stands in {section:?}"));
        }
    }
    wrong.extend(told.into_keys().map(|name| format!("{name} stands in the page, and no executor has it")));
    assert!(wrong.is_empty(), "docs/kubernetes.md:\n{}", wrong.join("\n"));
}

/// What makes no difference must not be seen, and what does has to be.
#[test]
fn rows_are_read_out_of_tables_of_settings_alone() {
    let page = "## One\n| setting | default | bounds | |\n|---|---|---|---|\n| `a-ms` | 5 | 1 to 9 | how long |\n\n| playbook | |\n|---|---|\n| `b` | x |\n## Two\n\
                | setting | default | bounds | |\n|---|---|---|---|\n| `c` | none | | what |\n";
    let rows = rows(page);
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["a-ms", "c"]);
    assert_eq!(rows["a-ms"], ("One".into(), Row { default: "5".into(), bounds: "1 to 9".into() }));
    assert_eq!(rows["c"].0, "Two");
}
