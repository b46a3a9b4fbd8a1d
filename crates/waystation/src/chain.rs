//! What it takes to run an instruction chain, for HTTP and the command line.

use std::sync::Arc;

use futures_util::future::try_join_all;
use waystation_core::dialect::instructions::{Compiled, Known, Request, compile};
use waystation_core::plan::Node;
use waystation_engine::driver::Submission;
use waystation_engine::driver::plans::{Definition, source_key};
use waystation_engine::provider::structured::check_schema;

use crate::app::App;
use crate::begin::{Begun, Refusal, Terms};

/// Begins the run that a request body asks for, if it may be in that namespace, and waits until it is safe.
pub async fn begin(app: &App, terms: &Terms, body: &str) -> Result<Begun, Refusal> {
    let request = Request::parse(body).map_err(Refusal::Invalid)?;
    terms.scope.enter(&request.namespace)?;
    let definition = define(app, &request)?;
    let begun = submit(app, terms, &request, &definition).await?;
    begun.submitted.finished.accepted().await?;
    Ok(begun)
}

/// Begins as many runs as a request body asks for, all of them or none.
pub async fn begin_batch(app: &App, terms: &Terms, body: &str) -> Result<Vec<Begun>, Refusal> {
    let request = Request::parse(body).map_err(Refusal::Invalid)?;
    terms.scope.enter(&request.namespace)?;
    let (count, definition) = match (request.count(), define(app, &request)) {
        (Ok(count), definition) => (count, definition?),
        (Err(problem), definition) => {
            let mut problems = vec![problem];
            if let Err(Refusal::Invalid(more)) = definition {
                problems.extend(more);
            }
            return Err(Refusal::Invalid(problems));
        }
    };
    let mut begun = Vec::with_capacity(count);
    for _ in 0..count {
        match submit(app, terms, &request, &definition).await {
            Ok(one) => begun.push(one),
            Err(refusal) => {
                withdraw(app, &begun);
                return Err(refusal);
            }
        }
    }
    // They share commits when they are waited for together.
    let accepted = begun.iter().map(|one: &Begun| one.submitted.finished.accepted());
    if let Err(error) = try_join_all(accepted).await {
        withdraw(app, &begun);
        return Err(error.into());
    }
    Ok(begun)
}

/// A caller who is told that nothing began will ask again.
fn withdraw(app: &App, begun: &[Begun]) {
    for one in begun {
        app.engine.request_cancel(one.submitted.id, "the batch that it belongs to could not begin");
    }
}

async fn submit(
    app: &App,
    terms: &Terms,
    request: &Request,
    definition: &Arc<Definition>,
) -> Result<Begun, Refusal> {
    let submission = Submission {
        definition: Arc::clone(definition),
        workflow: request.workflow_id.clone(),
        namespace: request.namespace.clone(),
        name: request.workflow_name.clone(),
        input: request.input(),
        warnings: Vec::new(),
        origin: terms.origin(),
    };
    let submitted = app.engine.submit(submission).await?;
    Ok(Begun { submitted, definition: Arc::clone(definition) })
}

/// The compiled definition of a request.
pub fn define(app: &App, request: &Request) -> Result<Arc<Definition>, Refusal> {
    app.engine.define(source_key(&["instructions", &request.source()]), || {
        let known = Known { providers: &app.providers, instructions_max: app.steps_max };
        let Compiled { plan, warnings } = compile(request, &known).map_err(Refusal::Invalid)?;
        let problems: Vec<String> = plan.nodes.iter().filter_map(schema_problem).collect();
        match problems.is_empty() {
            true => Ok((plan, warnings)),
            false => Err(Refusal::Invalid(problems)),
        }
    })
}

/// What is wrong with an instruction's schema: it should not take a paid call to find out.
fn schema_problem(node: &Node) -> Option<String> {
    let schema = node.config.get("schema")?;
    // Braces are written in a way of their own until the node runs, which checks such a schema then.
    if schema.to_string().contains("{{") {
        return None;
    }
    let problem = check_schema(schema).err()?;
    Some(format!("Instruction {}: Field schema: {problem}", node.id))
}
