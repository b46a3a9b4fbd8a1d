//! What is asked, read from a service's wire format, and what the service refuses to be asked.

use serde_json::Value;

use super::Service;
use super::refusal::Refusal;
use super::strict;

/// A question, as far as the answer depends on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) model: String,
    /// All texts, those that say what the model is included, in order.
    pub(crate) prompt: String,
    /// The text that the user sent last.
    pub(crate) last_message: String,
    pub(crate) assistant_spoke: bool,
    pub(crate) stream: bool,
    /// Whether a stream ends with what was used.
    pub(crate) stream_usage: bool,
    /// The schema that the answer has to follow.
    pub(crate) schema: Option<Value>,
    /// The tool that has to be called with the answer.
    pub(crate) tool: Option<String>,
    pub(crate) tokens_max: Option<u64>,
    /// A digest of the body.
    pub(crate) digest: String,
}

impl Request {
    /// Reads a body, or says what the service would say.
    pub(crate) fn read(service: Service, body: &Value, digest: &str) -> Result<Request, Refusal> {
        if !body.is_object() {
            return Err(Refusal::invalid("The JSON body of the request cannot be parsed."));
        }
        let model = body["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| match service {
            Service::Anthropic => Refusal::invalid("model: Field required"),
            _ => Refusal::invalid("you must provide a model parameter"),
        })?;
        let mut request = Request {
            model: model.to_owned(),
            digest: digest.to_owned(),
            stream: body["stream"] == true && service.streams(),
            ..Request::default()
        };
        match service {
            Service::Anthropic => request.read_anthropic(body)?,
            Service::Gateway => request.read_gateway(body)?,
            _ => request.read_openai(service, body)?,
        }
        Ok(request)
    }

    fn read_openai(&mut self, service: Service, body: &Value) -> Result<(), Refusal> {
        if service == Service::OpenAi {
            refuse_what_reasoning_models_refuse(&self.model, body)?;
        }
        self.read_messages(body, "Missing required parameter: 'messages'.")?;
        let tokens_max = ["max_completion_tokens", "max_tokens"].map(|key| body[key].as_u64());
        self.tokens_max = tokens_max.into_iter().flatten().next();
        self.stream_usage = body["stream_options"]["include_usage"] == true;
        let format = &body["response_format"]["json_schema"];
        if body["response_format"]["type"] == "json_schema" {
            if !format["name"].is_string() {
                let message = "Missing required parameter: 'response_format.json_schema.name'.";
                return Err(Refusal::parameter("response_format.json_schema.name", None, message));
            }
            self.follow(&format["schema"], "response_format", format["strict"] == true)?;
        }
        Ok(())
    }

    fn read_anthropic(&mut self, body: &Value) -> Result<(), Refusal> {
        self.tokens_max = body["max_tokens"].as_u64();
        if self.tokens_max.is_none() {
            return Err(Refusal::invalid("max_tokens: Field required"));
        }
        self.prompt = text(&body["system"]);
        let messages = body["messages"].as_array().into_iter().flatten();
        if let Some(role) = messages.map(|message| &message["role"]).find(|role| *role == "system")
        {
            return Err(Refusal::invalid(format!("messages: Unexpected role {role}")));
        }
        self.read_messages(body, "messages: at least one message is required")?;
        let format = &body["output_config"]["format"];
        if format["type"] == "json_schema" {
            self.follow(&format["schema"], "output_config.format.schema", false)?;
        }
        self.read_tool(body);
        Ok(())
    }

    /// A tool that the model must use is answered with its input.
    fn read_tool(&mut self, body: &Value) {
        let mut tools = body["tools"].as_array().into_iter().flatten();
        let choice = &body["tool_choice"];
        let tool = match choice["type"].as_str() {
            Some("any") => tools.next(),
            Some("tool") => tools.find(|tool| tool["name"] == choice["name"]),
            _ => None,
        };
        if let Some(tool) = tool {
            self.tool = tool["name"].as_str().map(str::to_owned);
            self.schema = Some(tool["input_schema"].clone());
        }
    }

    fn read_gateway(&mut self, body: &Value) -> Result<(), Refusal> {
        self.tokens_max = body["max_tokens"].as_u64();
        self.prompt = text(&body["system_prompt"]);
        if let Some(prompt) = body["prompt"].as_str() {
            self.hear("user", prompt.to_owned());
            return Ok(());
        }
        self.read_messages(body, "prompt or messages is required")
    }

    fn read_messages(&mut self, body: &Value, otherwise: &str) -> Result<(), Refusal> {
        let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
        let missing =
            || Refusal::parameter("messages", Some("missing_required_parameter"), otherwise);
        for message in messages.ok_or_else(missing)? {
            self.hear(message["role"].as_str().unwrap_or_default(), text(&message["content"]));
        }
        Ok(())
    }

    fn hear(&mut self, role: &str, text: String) {
        self.prompt += "\n";
        self.prompt += &text;
        match role {
            "assistant" => self.assistant_spoke = true,
            "user" => self.last_message = text,
            _ => {}
        }
    }

    fn follow(
        &mut self,
        schema: &Value,
        param: &'static str,
        all_required: bool,
    ) -> Result<(), Refusal> {
        let closed = param != "response_format" || all_required;
        if let Some(problem) = strict::problem(schema, all_required).filter(|_| closed) {
            return Err(Refusal::parameter(param, None, format!("Invalid schema: {problem}.")));
        }
        self.schema = Some(schema.clone());
        Ok(())
    }
}

/// A text, or the texts among the parts of a content.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// OpenAI's reasoning models take no temperature of one's own, and call the bound by another name.
fn refuse_what_reasoning_models_refuse(model: &str, body: &Value) -> Result<(), Refusal> {
    if !["gpt-5", "o1", "o3", "o4"].iter().any(|family| model.starts_with(family)) {
        return Ok(());
    }
    if body["temperature"].as_f64().is_some_and(|temperature| temperature != 1.0) {
        let message = "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.";
        return Err(Refusal::parameter("temperature", Some("unsupported_value"), message));
    }
    if body.get("max_tokens").is_some_and(|bound| !bound.is_null()) {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(Refusal::parameter("max_tokens", Some("unsupported_parameter"), message));
    }
    Ok(())
}
