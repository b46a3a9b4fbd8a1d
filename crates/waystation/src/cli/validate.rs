//! `waystation validate`: checks a pipeline without running it.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use waystation_core::dialect::pipeline::{Compiled, Request, compile};

use super::{Failed, Outcome, read_file, terminal};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Validate {
    /// The pipeline's file; `-` reads standard input.
    file: PathBuf,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub(super) fn execute(self, config: &Config) -> Outcome {
        let verdict = load(&read_file(&self.file)?, config.steps_max);
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

/// The plan of a pipeline's text.
pub(super) fn load(text: &str, steps_max: usize) -> Result<Compiled, Failed> {
    let request = Request::parse(text).map_err(Failed::definition)?;
    let compiled = compile(request.steps, request.settings, steps_max);
    let mut compiled = compiled.map_err(Failed::Definition)?;
    let nodes = &compiled.plan.nodes;
    let outputs: HashSet<&str> =
        nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
    let hidden = request.hidden(|name| outputs.contains(name));
    compiled.warnings.extend(hidden);
    Ok(compiled)
}
