//! `waystation graph`: a pipeline as a Mermaid flowchart.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use waystation_core::plan::{Plan, Shape, When};

use super::validate::load;
use super::{Outcome, read_file, terminal};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Graph {
    /// The pipeline's file; `-` reads standard input.
    file: PathBuf,
}

impl Graph {
    pub(super) fn execute(self, config: &Config) -> Outcome {
        let compiled = load(&read_file(&self.file)?, config.steps_max)?;
        terminal::print(mermaid(&compiled.plan).trim_end());
        Ok(())
    }
}

/// Whole arrows carry data, dotted ones only order or select.
fn mermaid(plan: &Plan) -> String {
    let mut chart = String::from("flowchart TD\n");
    for (index, node) in plan.nodes.iter().enumerate() {
        let name = escaped(&node.name);
        // Writing to a string cannot fail.
        let _ = match node.hidden {
            true => writeln!(chart, "  n{index}{{{{\"{name}\"}}}}"),
            false => writeln!(chart, "  n{index}[\"{name}\"]"),
        };
    }
    let Shape::Graph { edges } = &plan.shape else { return chart };
    for edge in edges {
        let arrow = if edge.when == When::Settled { "-.->" } else { "-->" };
        let label = edge.label.as_deref().map(|label| format!("|\"{}\"|", escaped(label)));
        let _ =
            writeln!(chart, "  n{} {arrow}{} n{}", edge.from, label.unwrap_or_default(), edge.to);
    }
    chart
}

fn escaped(text: &str) -> String {
    let text = terminal::plain(text);
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('\n', " ")
}
