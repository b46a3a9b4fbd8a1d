//! `router`: calls the endpoint of the option that was chosen.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::model::settings::read;
use super::model::tool::{Patience, Selected, Tool, Words, call_selected};
use super::{Call, Effect, Outcome};
use crate::egress::HttpClient;

const WORDS: Words = Words {
    kind: "router",
    listed: "options",
    trying: "Router endpoint call",
    decision: "routerDecision",
    selected: "selectedOption",
};

/// The node type.
pub(super) struct Router {
    pub(super) client: Arc<HttpClient>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    decision: Decision,
    options: Vec<Tool>,
    retries: Option<u64>,
    retry_delay: Option<u64>,
    timeout: Option<u64>,
}

/// What `choose` gave, as far as it matters here.
#[derive(Deserialize)]
struct Decision {
    choice: usize,
    llm_response: String,
}

#[async_trait]
impl Effect for Router {
    async fn attempt(&self, mut call: Call) -> Outcome {
        let Settings { decision, options, retries, retry_delay, timeout } =
            read(WORDS.kind, std::mem::take(&mut call.config))?;
        let Decision { choice: index, llm_response } = decision;
        let selected = Selected { index, llm_response };
        let patience = Patience { retries, retry_delay, timeout };
        let ties = (&*self.client, &call);
        let text = call_selected(&WORDS, options, selected, patience, ties).await?;
        Ok(json!({ "text": text }).into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::model::testing::attempt;
    use super::*;
    use crate::egress::testing::{Server, open_client, reply};

    fn config(endpoint_url: &str) -> Value {
        let option = |id: &str| {
            json!({
                "id": id,
                "name": format!("The {id}"),
                "endpoint": {
                    "endpoint_url": endpoint_url,
                    "api_url": format!("https://api.test/{id}"),
                    "method": "PUT",
                    "headers": { "Authorization": "Bearer k" },
                    "body": { "q": id },
                },
            })
        };
        json!({
            "decision": { "choice": 1, "llm_response": "It is news", "id": "news", "text": "" },
            "options": [option("weather"), option("news")],
            "retries": 0, "retry_delay": 5, "timeout": 700,
        })
    }

    fn router() -> Router {
        Router { client: Arc::new(open_client()) }
    }

    #[tokio::test]
    async fn the_chosen_endpoint_is_called_and_reported() {
        let told = json!({ "success": true, "status": 200, "body": { "headlines": ["a"] } });
        let server = Server::start(move |_| reply(200, "", told.to_string())).await;
        let completion = attempt(&router(), config(&server.url("/"))).await.expect("data");
        let text = completion.output["text"].as_str().expect("text").to_owned();
        let text = text.replace(&server.url("/"), "http://worker/");
        insta::assert_snapshot!(text, @r#"
        {
          "routerDecision": {
            "selectedOption": "news",
            "selectedName": "The news",
            "llmResponse": "It is news",
            "endpoint": {
              "endpointUrl": "http://worker/",
              "apiUrl": "https://api.test/news",
              "method": "PUT"
            }
          },
          "data": {
            "headlines": [
              "a"
            ]
          }
        }
        "#);
        let request = server.requests().remove(0);
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let expected = json!({
            "url": "https://api.test/news", "method": "PUT", "headers": { "Authorization": "Bearer k" },
            "body": { "q": "news" }, "retries": 0, "retryDelay": 5, "timeout": 700,
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn data_that_is_no_json_is_text() {
        for (body, expected) in [
            (json!("plain"), json!("plain")),
            (json!("[1, 2]"), json!([1, 2])),
            (json!(null), json!(null)),
        ] {
            let told = json!({ "success": true, "status": 200, "body": body });
            let server = Server::start(move |_| reply(200, "", told.to_string())).await;
            let completion = attempt(&router(), config(&server.url("/"))).await.expect("data");
            let text = completion.output["text"].as_str().expect("text");
            let report: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(report["data"], expected);
        }
    }

    #[tokio::test]
    async fn a_failure_says_what_was_tried() {
        let server = Server::start(|_| reply(503, "", "down")).await;
        let failure = attempt(&router(), config(&server.url("/"))).await.expect_err("no data");
        let expected = "Router endpoint call failed: Endpoint worker error: 503 - down";
        assert_eq!(failure.message, expected);
    }

    #[tokio::test]
    async fn a_decision_for_nothing_is_refused() {
        let mut config = config("http://127.0.0.1:1/");
        config["decision"]["choice"] = json!(2);
        let failure = attempt(&router(), config).await.expect_err("no such option");
        assert_eq!(failure.message, "router settings: the decision is none of the options");
    }
}
