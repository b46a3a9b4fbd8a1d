//! `waystation graph`: a definition as a Mermaid flowchart.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::path::PathBuf;

use clap::Args;
use waystation_core::plan::{Edge, Node, Plan, QueueItem, Shape, When};

use super::definition::{Format, load};
use super::{Outcome, read_file, terminal};
use crate::config::Config;

/// Letters of an instruction that a box shows.
const LABEL_CHARS: usize = 60;

#[derive(Args)]
pub(super) struct Graph {
    /// The file of a pipeline, an instruction chain or a workflow; `-` reads standard input.
    file: PathBuf,
    /// The file's format, which is otherwise seen from its fields.
    #[arg(long)]
    format: Option<Format>,
}

impl Graph {
    pub(super) fn execute(self, config: &Config) -> Outcome {
        let loaded = load(&read_file(&self.file)?, self.format, config)?;
        terminal::print(mermaid(&loaded.plan).trim_end());
        Ok(())
    }
}

fn mermaid(plan: &Plan) -> String {
    let mut chart = String::from("flowchart TD\n");
    // Writing to a string cannot fail.
    let _ = match &plan.shape {
        Shape::Graph { edges } => draw_graph(&mut chart, plan, edges),
        Shape::Queue { items } => draw_queue(&mut chart, plan, items),
    };
    chart
}

/// Whole arrows carry data, dotted ones only order or select.
fn draw_graph(chart: &mut String, plan: &Plan, edges: &[Edge]) -> fmt::Result {
    for (index, node) in plan.nodes.iter().enumerate() {
        let name = escaped(&node.name);
        match node.hidden {
            true => writeln!(chart, "  n{index}{{{{\"{name}\"}}}}")?,
            false => writeln!(chart, "  n{index}[\"{name}\"]")?,
        }
    }
    for edge in edges {
        let arrow = match edge.when {
            When::Settled | When::Never => "-.->",
            _ => "-->",
        };
        let port = match &edge.when {
            When::Port(port) => Some(port.as_str()),
            When::Failed => Some("error"),
            _ => None,
        };
        let label = edge.label.as_deref().or(port);
        let label = label.map(|label| format!("|\"{}\"|", escaped(label)));
        let label = label.unwrap_or_default();
        writeln!(chart, "  n{} {arrow}{label} n{}", edge.from, edge.to)?;
    }
    Ok(())
}

/// Boxes are steps, diamonds their conditions.
fn draw_queue(chart: &mut String, plan: &Plan, items: &[QueueItem]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        let text = &plan.nodes[item.node as usize].metadata["instruction"];
        let text = cut(text.as_str().unwrap_or(&plan.nodes[item.node as usize].name));
        writeln!(chart, "  n{index}[\"{index}: {}\"]", escaped(&text))?;
        if let Some(condition) = item.condition {
            let text = cut(&judged(&plan.nodes[condition as usize]));
            writeln!(chart, "  c{index}{{\"{}\"}}", escaped(&text))?;
        }
    }
    let targets: HashSet<u32> =
        items.iter().flat_map(|item| item.if_true.iter().chain(&item.if_false)).copied().collect();
    for (index, item) in items.iter().enumerate() {
        let next = (index + 1 < items.len()).then_some(index as u32 + 1);
        let Some(_) = item.condition else {
            // A branch's target ends its branch.
            if let Some(next) = next.filter(|_| !targets.contains(&(index as u32))) {
                writeln!(chart, "  n{index} --> n{next}")?;
            }
            continue;
        };
        writeln!(chart, "  n{index} --> c{index}")?;
        for (port, branch) in [("true", &item.if_true), ("false", &item.if_false)] {
            let to = if branch.is_empty() { next.as_slice() } else { branch };
            for target in to.iter().filter(|target| (**target as usize) < items.len()) {
                writeln!(chart, "  c{index} -->|{port}| n{target}")?;
            }
        }
    }
    Ok(())
}

/// What a condition decides on: an expression, or a question to a model.
fn judged(node: &Node) -> String {
    let asked = || node.config["expression"].as_str().unwrap_or(&node.name).to_owned();
    node.condition.clone().unwrap_or_else(asked)
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(LABEL_CHARS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

fn escaped(text: &str) -> String {
    let text = terminal::plain(text);
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('\n', " ")
}
