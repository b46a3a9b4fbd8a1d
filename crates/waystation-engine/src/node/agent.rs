//! `agent`: calls the tool that was decided on; without one, lets a model answer or passes on what it
//! was given.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::error::Failure;

use super::model::settings::{Model, read_with_model};
use super::model::tool::{Patience, Selected, Tool, Words, call_selected};
use super::model::{answer, text_of};
use super::{AttemptContext, Call, Effect, Outcome};
use crate::egress::HttpClient;
use crate::provider::models::Models;
use crate::provider::{Message, Role};

const WORDS: Words = Words {
    kind: "agent",
    listed: "tools",
    trying: "Agent endpoint call",
    decision: "agentDecision",
    selected: "selectedTool",
};

/// The node type.
pub(super) struct Agent {
    pub(super) client: Arc<HttpClient>,
    pub(super) models: Arc<Models>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    decision: Decision,
    tools: Vec<Tool>,
    fallback: Fallback,
    #[serde(default)]
    prompt: Option<Value>,
    #[serde(default)]
    context: Value,
    retries: Option<u64>,
    retry_delay: Option<u64>,
    timeout: Option<u64>,
}

/// What `decide` gave, as far as it matters here.
#[derive(Deserialize)]
struct Decision {
    tool: Option<usize>,
    llm_response: String,
}

/// What is done without a tool.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fallback {
    Llm,
    Skip,
}

#[async_trait]
impl Effect for Agent {
    async fn attempt(&self, mut call: Call) -> Outcome {
        let config = std::mem::take(&mut call.config);
        let (model, settings) = read_with_model::<Settings>(WORDS.kind, config)?;
        let text = match (settings.decision.tool, settings.fallback) {
            (Some(tool), _) => self.use_tool(tool, settings, &call).await?,
            (None, Fallback::Llm) => self.answer(model, settings, &call.context).await?,
            (None, Fallback::Skip) => text_of(settings.context),
        };
        Ok(json!({ "text": text }).into())
    }
}

impl Agent {
    async fn use_tool(
        &self,
        index: usize,
        settings: Settings,
        call: &Call,
    ) -> Result<String, Failure> {
        let Settings { decision, tools, retries, retry_delay, timeout, .. } = settings;
        let selected = Selected { index, llm_response: decision.llm_response };
        let patience = Patience { retries, retry_delay, timeout };
        call_selected(&WORDS, tools, selected, patience, (&self.client, call)).await
    }

    /// A model's own answer: to the prompt and the context, like a step's.
    async fn answer(
        &self,
        model: Model,
        settings: Settings,
        context: &AttemptContext,
    ) -> Result<String, Failure> {
        let parts = settings.prompt.into_iter().chain([settings.context]).map(text_of);
        let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        let message = Message { role: Role::User, text: parts.join("\n\n") };
        let answer = self.models.ask(model.ask(vec![message]), context).await?;
        answer::require_text(&answer)?;
        Ok(answer.text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::testing::{attempt, prompt};
    use super::*;
    use crate::egress::testing::{Server, open_client, reply};
    use crate::provider::scripted::Scripted;

    fn agent(script: &Arc<Scripted>) -> Agent {
        Agent { client: Arc::new(open_client()), models: script.models() }
    }

    fn config(url: &str, tool: impl Into<Value>, fallback: &str) -> Value {
        let endpoint = json!({ "endpoint_url": url, "api_url": "https://api.test/weather" });
        json!({
            "decision": { "tool": tool.into(), "llm_response": "as I think" },
            "tools": [{ "id": "weather", "name": "Weather data", "endpoint": endpoint }],
            "fallback": fallback,
            "prompt": "Answer it yourself.",
            "context": "Will it rain?",
            "provider": "openai",
        })
    }

    #[tokio::test]
    async fn a_tool_is_called_and_reported() {
        let told = json!({ "success": true, "status": 200, "body": { "rain": true } });
        let server = Server::start(move |_| reply(200, "", told.to_string())).await;
        let script = Scripted::new([""; 0]);
        let config = config(&server.url("/"), 0, "skip");
        let completion = attempt(&agent(&script), config).await.expect("data");
        let text = completion.output["text"].as_str().expect("text").to_owned();
        let text = text.replace(&server.url("/"), "http://worker/");
        insta::assert_snapshot!(text, @r#"
        {
          "agentDecision": {
            "selectedTool": "weather",
            "selectedName": "Weather data",
            "llmResponse": "as I think",
            "endpoint": {
              "endpointUrl": "http://worker/",
              "apiUrl": "https://api.test/weather",
              "method": "GET"
            }
          },
          "data": {
            "rain": true
          }
        }
        "#);
        assert_eq!(script.questions(), []);
    }

    #[tokio::test]
    async fn without_a_tool_a_model_answers_or_the_context_passes() {
        let script = Scripted::new(["Probably."]);
        let given = attempt(&agent(&script), config("", Value::Null, "llm")).await;
        assert_eq!(given.expect("an answer").output, json!({ "text": "Probably." }));
        insta::assert_snapshot!(prompt(&script), @"
        [User]
        Answer it yourself.

        Will it rain?
        ");

        let script = Scripted::new([""; 0]);
        let given = attempt(&agent(&script), config("", Value::Null, "skip")).await;
        assert_eq!(given.expect("the context").output, json!({ "text": "Will it rain?" }));
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said() {
        let server = Server::start(|_| reply(500, "", "")).await;
        for (tool, fallback, expected) in [
            (Some(0), "llm", "Agent endpoint call failed: Endpoint worker error: 500 - "),
            (Some(1), "llm", "agent settings: the decision is none of the tools"),
            (None, "llm", "The model's answer is empty"),
            (None, "nap", "agent settings: unknown variant `nap`, expected `llm` or `skip`"),
        ] {
            let config = config(&server.url("/"), tool, fallback);
            let failure = attempt(&agent(&Scripted::new([""])), config).await.expect_err(expected);
            assert_eq!(failure.message, expected);
        }
    }
}
