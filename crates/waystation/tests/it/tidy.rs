//! Rules of the house that no compiler checks.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..")
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    sources(&root().join("bench/src"), &mut files);
    assert!(files.len() > 150, "{} files", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} has no caption", file.display());
    }
}

/// What could reach a clock, a socket, a file, the environment or randomness stays out of the core.
#[test]
fn the_core_depends_on_nothing_that_reaches_the_world() {
    let manifest =
        std::fs::read_to_string(root().join("crates/waystation-core/Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let names: Vec<&str> =
        section.lines().filter_map(|line| Some(line.split_once(".workspace")?.0)).collect();
    assert_eq!(names, ["chrono", "regex", "serde", "serde_json", "strsim"]);
    let mut files = Vec::new();
    sources(&root().join("crates/waystation-core/src"), &mut files);
    for file in files.iter().filter(|file| !is_test(file)) {
        let text = std::fs::read_to_string(file).unwrap();
        // Tests at the end of a file may use what they like; declarations of test files do not end it.
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for forbidden in ["std::fs", "std::net", "std::env", "std::time", "std::thread", "Utc::now"]
        {
            assert!(!code.contains(forbidden), "{} uses {forbidden}", file.display());
        }
    }
}

fn is_test(file: &Path) -> bool {
    let name = file.to_string_lossy();
    ["tests", "simulator", "fuzz", "golden"].iter().any(|part| name.contains(part))
}
