//! Definitions in files: which format they have, and what they compile into.

use std::collections::HashSet;

use clap::ValueEnum;
use waystation_core::dialect::{instructions, pipeline};
use waystation_core::plan::Plan;

use super::Failed;
use super::workflow::document;
use crate::config::Config;
use crate::{app, workflows};

/// The formats of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// STEPS_CONFIG, as for POST /execute.
    Pipeline,
    /// Instructions, as for POST /.
    Instructions,
    /// Nodes and edges, as for POST /api/v1/workflows; JSON or YAML.
    Workflow,
}

impl Format {
    /// The format of a text, unless somebody has said it. What is no object at all is left to those who
    /// read it, for they say what is wrong with it.
    pub(super) fn of(text: &str, said: Option<Format>) -> Result<Format, Failed> {
        if let Some(said) = said {
            return Ok(said);
        }
        let Ok(fields) = document::read(text) else { return Ok(Format::Pipeline) };
        let has = |names: &[&str]| names.iter().any(|name| fields.get(*name).is_some());
        if has(&["STEPS_CONFIG"]) {
            return Ok(Format::Pipeline);
        }
        if has(&["instructions", "firstInstruction", "secondInstruction"]) {
            return Ok(Format::Instructions);
        }
        if has(&["nodes"]) {
            return Ok(Format::Workflow);
        }
        let text = "Missing STEPS_CONFIG (of a pipeline), instructions (of an instruction chain) or \
                    nodes (of a workflow)";
        Err(Failed::Definition(vec![text.into()]))
    }
}

/// What a definition compiles into.
pub(super) struct Loaded {
    pub(super) plan: Plan,
    pub(super) warnings: Vec<String>,
}

/// The plan of a text.
pub(super) fn load(text: &str, said: Option<Format>, config: &Config) -> Result<Loaded, Failed> {
    match Format::of(text, said)? {
        Format::Pipeline => load_pipeline(text, config.steps_max),
        Format::Instructions => load_chain(text, config),
        Format::Workflow => load_workflow(text, config),
    }
}

fn load_pipeline(text: &str, steps_max: usize) -> Result<Loaded, Failed> {
    let request = pipeline::Request::parse(text).map_err(Failed::definition)?;
    let compiled = pipeline::compile(request.steps, request.settings, steps_max);
    let pipeline::Compiled { plan, mut warnings } = compiled.map_err(Failed::Definition)?;
    let outputs = plan.nodes.iter().flat_map(|node| &node.outputs);
    let outputs: HashSet<&str> = outputs.map(String::as_str).collect();
    warnings.extend(request.hidden(|name| outputs.contains(name)));
    Ok(Loaded { plan, warnings })
}

fn load_workflow(text: &str, config: &Config) -> Result<Loaded, Failed> {
    let source = document::read(text).map_err(|problem| Failed::Definition(vec![problem]))?;
    let read = workflows::read(&source, &*app::catalog(config)?, config.steps_max);
    let (compiled, _) = read.map_err(|issues| Failed::issues(&issues))?;
    let warnings = compiled.warnings.iter().map(ToString::to_string).collect();
    Ok(Loaded { plan: compiled.plan, warnings })
}

fn load_chain(text: &str, config: &Config) -> Result<Loaded, Failed> {
    let request = instructions::Request::parse(text).map_err(Failed::Definition)?;
    let providers: Vec<String> = config.providers.setups.keys().cloned().collect();
    let known = instructions::Known { providers: &providers, instructions_max: config.steps_max };
    let compiled = instructions::compile(&request, &known).map_err(Failed::Definition)?;
    let instructions::Compiled { plan, warnings } = compiled;
    Ok(Loaded { plan, warnings })
}
