//! The file of settings, and what the command line shows of them.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::{run, run_with};
use crate::support::server::Server;

/// A data directory with a file of settings in it.
fn with_file(text: &str, mode: u32) -> (TempDir, PathBuf) {
    let data = TempDir::new().unwrap();
    let path = data.path().join("waystation.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    (data, path)
}

#[tokio::test]
async fn what_is_shown_says_where_it_comes_from_and_no_secrets() {
    let text = "[server]\nport = 9000\ncors_origins = [\"https://a\", \"https://b\"]\n\
                [models]\nopenai_api_key = \"canary-file\"\nrun_usd = 0.5\n\
                openai_base_url = \"https://me:canary-url@proxy.example/v1\"\n";
    let (data, path) = with_file(text, 0o600);
    let settings = [
        ("HOST", "127.0.0.1"),
        ("REDIS_URL", "redis://:canary-redis@127.0.0.1:1"),
        ("SMTP_HOST", "mail.example"),
        ("SMTP_USER", "flows@mail.example"),
        ("SMTP_PASSWORD", "canary-smtp"),
        ("JWT_SECRET", "canary-jwt of more than thirty-two bytes"),
    ];
    let shown = run_with(data.path(), &["config", "show"], &settings, "").await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let lines = shown.stdout.replace(path.to_str().unwrap(), "<file>");
    let lines = lines.replace(data.path().to_str().unwrap(), "<data>");
    assert_snapshot!("shown", lines);
    let json = run_with(data.path(), &["config", "show", "--json"], &settings, "").await;
    let told: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(told["server.port"]["value"], "9000");
    assert_eq!(told["server.port"]["origin"]["line"], 2);
    assert_eq!(told["smtp.username"]["origin"]["variable"], "SMTP_USER");
    for text in [&shown.stdout, &shown.stderr, &json.stdout] {
        assert!(!text.contains("canary"), "{text}");
    }
    // What is shown is a file that says the same.
    let again = data.path().join("again.toml");
    std::fs::write(&again, &shown.stdout).unwrap();
    std::fs::set_permissions(&again, PermissionsExt::from_mode(0o600)).unwrap();
    let arguments = ["config", "show", "--json", "--config", again.to_str().unwrap()];
    let again: Value = serde_json::from_str(&run(data.path(), &arguments).await.stdout).unwrap();
    for (key, setting) in told.as_object().unwrap() {
        assert_eq!(again[key]["value"], setting["value"], "{key}");
    }
}

#[tokio::test]
async fn a_file_with_faults_stops_every_command() {
    let (data, path) = with_file("[server]\nprot = 1\n[egress]\nallow = \"x\"\n", 0o600);
    for command in [&["config", "show"][..], &["serve"], &["runs", "list"], &["validate", "-"]] {
        let ended = run(data.path(), command).await;
        assert_eq!(ended.code, Some(4), "{command:?}: {}", ended.stderr);
        assert_snapshot!("faults", ended.stderr.replace(path.to_str().unwrap(), "<file>"));
    }
    let (data, _) = with_file("[redis]\npassword = 'x'\n", 0o644);
    let ended = run(data.path(), &["config", "show"]).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("chmod 600"), "{}", ended.stderr);
    let ended = run(data.path(), &["config", "show", "--config", "/no/such"]).await;
    assert_eq!(ended.code, Some(4));
}

#[tokio::test]
async fn values_that_do_not_hold_are_shown_and_told() {
    let data = TempDir::new().unwrap();
    for (name, value, told) in [
        ("PORT", "many", "PORT must be a whole number up to 65535, not \"many\""),
        ("WAYSTATION_OPEN", "perhaps", "WAYSTATION_OPEN must be true or false"),
        ("WAYSTATION_MAX_RUNS", "-1", "WAYSTATION_MAX_RUNS must be a whole number"),
        ("WAYSTATION_OPEN_APIS", "pipeline", "did you mean pipelines?"),
        ("WAYSTATION_TRUSTED_PROXIES", "proxy", "\"proxy\" is neither a network nor an address"),
    ] {
        let shown = run_with(data.path(), &["config", "show"], &[(name, value)], "").await;
        assert_eq!(shown.code, Some(4), "{name}");
        assert!(shown.stderr.contains(told), "{name}: {}", shown.stderr);
        assert!(shown.stdout.contains(&format!("# variable {name}")), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn a_server_takes_its_settings_from_the_file() {
    let (data, path) = with_file("[limits]\nsteps = 1\n[server]\nport = 0\n", 0o644);
    let named = [("WAYSTATION_CONFIG", path.to_str().unwrap())];
    let server = Server::with(&named).await;
    let step = |name: &str| crate::support::step(name, "/echo", &[]);
    let reply = server.execute(&crate::support::pipeline(&[step("a"), step("b")])).await;
    assert!(reply.to_string().contains('1'), "{reply}");
    assert_eq!(reply["success"], false, "{reply}");
    drop(data);
}
