//! How to use the format: what `GET /` answers to programs.

use serde_json::{Value, json};

/// The document.
pub fn usage_document() -> Value {
    json!({
        "service": "Waystation",
        "version": env!("CARGO_PKG_VERSION"),
        "endpoints": {
            "POST /": "starts an instance of a chain of instructions",
            "POST /batch": "starts 1 to 20 instances of it: count says how many",
            "GET /?instanceId=ID": "tells how an instance is, with its steps as far as they are",
        },
        "fields": {
            "context": "required: what the first step works on",
            "instructions": "required: an array of texts and objects",
            "firstInstruction": "with secondInstruction instead of instructions: two steps",
            "provider": "openai, anthropic, another configured one, or the URL of an \
                OpenAI-compatible one; openai if it is not said",
            "model": "the provider's default if it is not said",
        },
        "types": {
            "instruction": ["instruction"],
            "endpoint": ["endpointUrl", "apiUrl", "method", "headers", "body", "retries",
                "retryDelay", "timeout", "description"],
            "thread": ["collectFromSteps", "outputFormat", "completionCheck", "description"],
            "router": ["description", "evaluationPrompt", "options", "defaultOption", "retries",
                "retryDelay", "timeout"],
            "agent": ["description", "decisionPrompt", "availableTools", "fallbackBehavior",
                "llmFallbackPrompt", "retries", "retryDelay", "timeout"],
        },
        "condition": ["expression", "evaluateAfterStep", "mode", "ifTrue", "ifFalse"],
        "example": {
            "context": "The kettle is lovely, but it came late.",
            "provider": "echo",
            "instructions": [
                "Summarize this text",
                { "instruction": "Translate it to French" },
            ],
        },
    })
}
