//! Every bound that a definition or a value must respect, in one place.

/// Nodes in one plan, unless a setting says otherwise.
pub const NODES_PER_PLAN: usize = 4_096;
/// Edges in one plan.
pub const EDGES_PER_PLAN: usize = 1_000_000;
/// Nesting of a node in a definition. Plans nest it deeper, and have to stay readable.
pub const DEFINITION_DEPTH: usize = 100;
/// Triggers of one workflow.
pub const TRIGGERS_PER_WORKFLOW: usize = 100;
/// Bodies of nodes within one another.
pub const BODY_DEPTH: usize = 8;
/// Bytes of a name: of a step, an output, a workflow, a namespace.
pub const NAME_BYTES: usize = 256;
/// Outputs of one step.
pub const OUTPUTS_PER_NODE: usize = 256;
/// Problems or warnings that one answer lists.
pub const FINDINGS: usize = 1_000;
/// Problems of a definition that are told with the nearest names that exist: looking for them takes time.
pub const HINTS: usize = 20;
/// Bytes, roughly, of a value that an event carries; of a larger one it tells the size.
pub const EVENT_VALUE_BYTES: usize = 256 << 10;
/// Bytes, roughly, that the named outputs of one step may take together.
pub const OUTPUT_BYTES: usize = 64 << 20;
/// Bytes of one template or condition.
pub const EXPRESSION_BYTES: usize = 8_192;
/// Nodes of one parsed expression.
pub const EXPRESSION_NODES: usize = 2_000;
/// Nesting of one parsed expression.
pub const EXPRESSION_DEPTH: u16 = 100;
/// Bytes that one evaluation, or all those of one node for its items, may copy or produce.
pub const EXPRESSION_OUTPUT_BYTES: usize = 16 << 20;
/// Bytes that they may look at, which is far cheaper than copying.
pub const EXPRESSION_WORK_BYTES: usize = 16 * EXPRESSION_OUTPUT_BYTES;
/// Nesting of a configuration value whose strings are templates.
pub const CONFIG_DEPTH: usize = 128;
/// Attempts of one node.
pub const ATTEMPTS_PER_NODE: u32 = 101;
/// The longest wait between two attempts, in milliseconds.
pub const RETRY_DELAY_MS_MAX: u64 = 24 * 3_600_000;
/// The longest timeout or deadline, in milliseconds.
pub const TIMEOUT_MS_MAX: u64 = 7 * 24 * 3_600_000;
/// How often an attempt may be cut short by a crash before the node counts as failed.
pub const INTERRUPTIONS_PER_NODE: u32 = 10;
/// Log lines that one run may write; further ones are dropped after a last line that says so.
pub const LOG_LINES_PER_RUN: u32 = 1_000;
/// Instances that one request may begin.
pub const INSTANCES_PER_BATCH: usize = 20;
/// Options of one router, or tools of one agent.
pub const OPTIONS_PER_NODE: usize = 256;
/// Steps that all threads of one plan may collect together.
pub const COLLECTED_STEPS: usize = 16_384;
/// Repetitions of one call by an endpoint worker.
pub const ENDPOINT_RETRIES: u64 = 100;
/// The longest wait that a step may ask an endpoint worker for, in milliseconds: the time of an attempt.
pub const ENDPOINT_WAIT_MS: u64 = 300_000;
/// Tokens that one answer of a model may be allowed to have.
pub const ANSWER_TOKENS: u64 = 10_000_000;
/// The highest temperature that a model may be given.
pub const TEMPERATURE: f64 = 2.0;
/// The greatest budget of a run, in US dollars.
pub const BUDGET_USD: f64 = 1e9;
