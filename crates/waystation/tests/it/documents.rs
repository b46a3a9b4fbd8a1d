//! What the documents say of codes and settings is what the program has.

use std::collections::BTreeSet;
use std::path::Path;

use waystation::settings::table::{ALIASES, SETTINGS};
use waystation_core::error::Code;

fn read(path: &str) -> String {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first cells of the table rows below a heading, without their backticks.
fn first_cells(text: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn every_error_code_is_in_the_table_with_its_hint() {
    let text = read("docs/api.md");
    let told = first_cells(&text, "Errors");
    let known: BTreeSet<String> = Code::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    assert_eq!(told, known);
    let (_, section) = text.split_once("\n## Errors\n").unwrap();
    for code in Code::ALL {
        let row =
            section.lines().find(|line| line.starts_with(&format!("| `{}` |", code.as_str())));
        let hint = code.hint().unwrap_or_default().replace('|', "\\|");
        assert!(row.unwrap().ends_with(&format!("| {hint} |")), "{}", code.as_str());
    }
}

#[test]
fn every_setting_is_in_the_table() {
    let text = read("docs/settings.md");
    let (_, table) = text.split_once("## All settings").unwrap();
    let (table, _) = table.split_once("\n\n`HOST`").unwrap();
    let told: BTreeSet<&str> = table.split('`').skip(1).step_by(2).collect();
    for setting in SETTINGS {
        assert!(told.contains(setting.name) && told.contains(setting.key), "{}", setting.name);
        let row = table.lines().find(|line| line.contains(&format!("`{}`", setting.name)));
        // A row for several has one text for all of their defaults.
        let row = row.filter(|row| row.matches('`').count() >= 6 && !setting.default.is_empty());
        if let Some(row) = row {
            let default = format!("| `{}` |", setting.default);
            assert!(row.contains(&default), "{}: {default}", setting.name);
        }
    }
    let known = |name: &str| {
        SETTINGS.iter().any(|setting| setting.name == name)
            || ALIASES.iter().any(|(alias, _)| *alias == name)
    };
    let is_name = |text: &str| {
        text.contains('_')
            && text.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
    };
    for name in told.into_iter().filter(|text| is_name(text)) {
        assert!(known(name), "{name} is told and does not exist");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let root = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..");
    for file in [
        "README.md",
        "ARCHITECTURE.md",
        "docs/README.md",
        "docs/pipelines.md",
        "docs/instructions.md",
        "docs/workflows.md",
        "docs/expressions.md",
        "docs/nodes.md",
        "docs/models.md",
        "docs/api.md",
        "docs/settings.md",
        "docs/operations.md",
    ] {
        let text = read(file);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets {
            let path = target.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let found = root.join(file).parent().unwrap().join(path).exists();
            assert!(found, "{file}: {target}");
        }
    }
}
