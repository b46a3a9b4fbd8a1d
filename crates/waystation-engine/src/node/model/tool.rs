//! The endpoints that a router or an agent calls for what a model has chosen.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Failure;

use super::settings::invalid;
use super::while_trying;
use crate::egress::HttpClient;
use crate::node::Call;
use crate::node::endpoint::{EndpointCall, call_endpoint};

/// An option or a tool with its endpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::node) struct Tool {
    id: String,
    #[serde(default)]
    name: String,
    endpoint: EndpointCall,
}

/// How an endpoint is called, whichever it is.
#[derive(Clone, Copy)]
pub(in crate::node) struct Patience {
    pub(in crate::node) retries: Option<u64>,
    pub(in crate::node) retry_delay: Option<u64>,
    pub(in crate::node) timeout: Option<u64>,
}

/// How a node type speaks of what was selected.
pub(in crate::node) struct Words {
    /// The node type.
    pub(in crate::node) kind: &'static str,
    /// What may be selected.
    pub(in crate::node) listed: &'static str,
    /// What a failure says was tried.
    pub(in crate::node) trying: &'static str,
    /// What a report calls the decision and what was selected.
    pub(in crate::node) decision: &'static str,
    pub(in crate::node) selected: &'static str,
}

/// What a model has chosen, and what it said.
pub(in crate::node) struct Selected {
    pub(in crate::node) index: usize,
    pub(in crate::node) llm_response: String,
}

/// Calls the endpoint of what was selected, and reports the decision and the data.
pub(in crate::node) async fn call_selected(
    words: &Words,
    mut tools: Vec<Tool>,
    selected: Selected,
    patience: Patience,
    (client, call): (&HttpClient, &Call),
) -> Result<String, Failure> {
    if selected.index >= tools.len() {
        let problem = format!("the decision is none of the {}", words.listed);
        return Err(invalid(words.kind, &problem));
    }
    let mut tool = tools.swap_remove(selected.index);
    let data = tool.call(client, patience, call).await;
    let data = data.map_err(|failure| while_trying(words.trying, failure))?;
    Ok(tool.report(words, &selected.llm_response, data))
}

impl Tool {
    async fn call(
        &mut self,
        client: &HttpClient,
        patience: Patience,
        call: &Call,
    ) -> Result<Value, Failure> {
        let Patience { retries, retry_delay, timeout } = patience;
        self.endpoint.retries = retries;
        self.endpoint.retry_delay = retry_delay;
        self.endpoint.timeout = timeout;
        let answer =
            call_endpoint(client, &self.endpoint, &call.idempotency_key, &call.context).await?;
        let text = answer.text();
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The decision and the data as indented JSON. Headers and body of the call stay unsaid: they may
    /// hold keys.
    fn report(self, words: &Words, llm_response: &str, data: Value) -> String {
        let EndpointCall { endpoint_url, api_url, method, .. } = self.endpoint;
        let endpoint = json!({
            "endpointUrl": endpoint_url,
            "apiUrl": api_url,
            "method": method.as_deref().unwrap_or("GET"),
        });
        let mut decision = Map::new();
        decision.insert(words.selected.into(), self.id.into());
        decision.insert("selectedName".into(), self.name.into());
        decision.insert("llmResponse".into(), llm_response.into());
        decision.insert("endpoint".into(), endpoint);
        let mut report = Map::new();
        report.insert(words.decision.into(), Value::Object(decision));
        report.insert("data".into(), data);
        format!("{:#}", Value::Object(report))
    }
}
