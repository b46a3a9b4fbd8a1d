//! What it takes to run a pipeline, for HTTP and the command line.

use std::sync::Arc;

use serde_json::Value;
use waystation_core::dialect::pipeline::{Compiled, Request, compile, reply};
use waystation_engine::driver::Submission;
use waystation_engine::driver::plans::{Definition, source_key};

use crate::app::App;
use crate::begin::{Begun, Refusal, Terms};

/// Begins the run that a request body asks for, if it may be in that namespace.
pub async fn begin(app: &App, terms: &Terms, body: &str) -> Result<Begun, Refusal> {
    let request = Request::parse(body)?;
    terms.scope.enter(&request.namespace)?;
    let definition = define(app, &request)?;
    let producers = &definition.program.producers;
    let warnings = request.hidden(|name| producers.contains_key(name));
    let submission = Submission {
        definition: Arc::clone(&definition),
        workflow: request.workflow_id,
        namespace: request.namespace,
        name: request.workflow_name,
        input: request.input,
        warnings,
        origin: terms.origin(),
    };
    let submitted = app.engine.submit(submission).await?;
    Ok(Begun { submitted, definition })
}

/// The compiled definition of a request.
pub fn define(app: &App, request: &Request<'_>) -> Result<Arc<Definition>, Refusal> {
    let (steps, settings) = (request.steps, request.settings);
    let source = ["pipeline", steps.unwrap_or_default(), settings.unwrap_or_default()];
    app.engine.define(source_key(&source), || {
        let compiled = compile(steps, settings, app.steps_max).map_err(Refusal::Invalid)?;
        let Compiled { plan, warnings } = compiled;
        Ok((plan, warnings))
    })
}

/// Runs a pipeline of this program's own making to its end and gives the reply of its format.
pub async fn execute(app: &App, body: &str) -> Result<Value, Refusal> {
    let Begun { submitted, .. } = begin(app, &Terms::own(), body).await?;
    let run = submitted.finished.wait().await?;
    Ok(reply::render(&run, &submitted.id.to_string()))
}
