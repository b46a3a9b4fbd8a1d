//! `waystation validate`: checks a definition without running it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::definition::{Format, load};
use super::{Failed, Outcome, read_file, terminal};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Validate {
    /// The file of a pipeline, an instruction chain or a workflow; `-` reads standard input.
    file: PathBuf,
    /// The file's format, which is otherwise seen from its fields.
    #[arg(long)]
    format: Option<Format>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub(super) fn execute(self, config: &Config) -> Outcome {
        let verdict = load(&read_file(&self.file)?, self.format, config);
        if self.json {
            let (errors, warnings) = match &verdict {
                Ok(compiled) => (&Vec::new(), &compiled.warnings),
                Err(Failed::Definition(errors)) => (errors, &Vec::new()),
                Err(_) => (&Vec::new(), &Vec::new()),
            };
            let body = json!({ "valid": verdict.is_ok(), "errors": errors, "warnings": warnings });
            terminal::print_json(&body);
        }
        let compiled = verdict?;
        if !self.json {
            terminal::warnings(&compiled.warnings);
            let steps = compiled.plan.nodes.iter().filter(|node| !node.hidden).count();
            let noun = if steps == 1 { "step" } else { "steps" };
            let mark = terminal::style("✓").green();
            terminal::say(&format!("{mark} {steps} {noun}, no problems"));
        }
        Ok(())
    }
}
