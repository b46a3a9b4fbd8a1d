//! Bounds of queues and resources. Beside each stands what happens when it is reached.

use std::time::Duration;

/// Appends waiting for the writer; further ones wait for room, which slows their runs down.
pub const WRITER_QUEUE: usize = 16_384;
/// Writes that share one transaction at the most.
pub const WRITES_PER_TRANSACTION: usize = 4_096;
/// Runs that retention deletes in one transaction; further ones follow in the next, so that other
/// writes get their turn.
pub const EXPIRED_PER_TRANSACTION: usize = 256;
/// Plans whose place in the store its writer remembers; others are looked up again.
pub const PLAN_IDS_CACHED: usize = 4_096;
/// A value whose JSON is larger is kept once, by its hash, outside the journal.
pub const INLINE_BYTES_MAX: usize = 64 << 10;
/// A batch of entries that is larger is compressed.
pub const COMPRESS_BYTES_MIN: usize = 1 << 10;
/// Entries that pure nodes may gather before they are handed to the writer.
pub const ENTRIES_PER_APPEND: usize = 2_048;
/// Bytes, roughly, that the results of one run may take together by default; a result beyond fails its
/// node. A run has all of them in memory, and its status tells all of them.
pub const RESULT_BYTES_PER_RUN: usize = 256 << 20;
/// Runs under way at once by default; a further one is refused as busy.
pub const RUNS_LIVE: usize = 20_000;
/// Nodes with effects that one run has under way; a further one waits unprepared, so that a wide run
/// neither fills memory with its requests nor takes all places.
pub const EFFECTS_PER_RUN: usize = 64;
/// Nodes with effects under way at once by default; a further one waits its turn.
pub const NODES_LIVE: usize = 1_024;
/// Bytes of a response body that a node keeps by default; a longer one fails the node.
pub const RESPONSE_BYTES: usize = 10 << 20;
/// Redirects that a request follows.
pub const REDIRECTS: usize = 10;
/// Bytes of a model's answer; a longer one fails the call for good.
pub const MODEL_ANSWER_BYTES: usize = 4 << 20;
/// Bytes that a streamed answer may take on the wire, where each word travels in an event of some
/// hundred bytes; a longer one fails the call for good.
pub const MODEL_STREAM_BYTES: usize = 64 << 20;
/// Schedules that begin their runs in one go; further ones follow at once.
pub const SCHEDULES_DUE: usize = 1_000;
/// How late a schedule may be before its moment counts as missed, in milliseconds.
pub const SCHEDULE_GRACE_MS: u64 = 60_000;
/// The longest wait of a node, in milliseconds; a longer one fails the node.
pub const WAIT_MS_MAX: u64 = 10 * 366 * 24 * 3_600_000;
/// Items of one node with a body; more fail the node.
pub const ITEMS_PER_NODE: usize = 100_000;
/// Items of one node with a body under way at once; a greater wish is refused.
pub const ITEMS_UNDER_WAY: u32 = 1_000;
/// Runs within one another; a deeper one fails its node.
pub const RUN_DEPTH: u32 = 32;
/// Letters of one line that a node says for its run's log; the rest is cut.
pub const LOG_LINE_LETTERS: usize = 4_096;
/// Events that a watcher is given at once; further ones follow.
pub const EVENT_PAGE: usize = 256;
/// Events of a watched run or workflow that are kept at hand; who is further behind reads the journal.
pub const EVENTS_KEPT: usize = 1_024;
/// Bytes of those, and of what is given at once.
pub const EVENT_BYTES_KEPT: usize = 4 << 20;
/// Watchers that read the journal at once; a further one waits.
pub const EVENT_READERS: usize = 16;
/// Bytes of journals that a reader of the feed is given at once; what is over is cut after the row that exceeds it.
pub const FEED_BYTES: usize = 4 << 20;
/// Runs whose state a reader of the feed keeps; others are read again from their beginning.
pub const EVENT_RUNS_OPEN: usize = 4_096;
/// Bytes of those, roughly; one run is kept whatever it takes.
pub const EVENT_RUNS_BYTES: usize = 16 << 20;
/// Pieces of a model's answer that a listener may be behind; further ones pass it by.
pub const TOKENS_BEHIND: usize = 256;
/// A run whose next event is further away leaves memory until then.
pub const SLEEP_IN_MEMORY: Duration = Duration::from_secs(10);
/// Bytes of compiled plans kept at hand; the least used make room.
pub const PLAN_CACHE_BYTES: u64 = 64 << 20;
/// Redis writes waiting; a further one is dropped and counted, for the journal has it anyway.
pub const REDIS_QUEUE: usize = 10_000;
/// Bytes of JSON, roughly, that wait for Redis; a further value is dropped and counted.
pub const REDIS_QUEUE_BYTES: usize = 64 << 20;
/// Webhooks on their way to one host at once; a further one waits.
pub const WEBHOOKS_PER_HOST: usize = 16;
/// Webhooks on their way at once, over all runs; a further one waits.
pub const WEBHOOKS_LIVE: usize = 64;
/// How long a process that runs only its own runs stays for their webhooks; the next server delivers
/// the rest.
pub const WEBHOOK_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a response body that a node may ask to keep; a greater wish is refused.
pub const RESPONSE_BYTES_MAX: usize = 256 << 20;
/// Bytes of a body that are read of a response that is no success; the rest is left unread.
pub const ERROR_BYTES: usize = 64 << 10;
/// How long connecting may take, name lookup and TLS included; then the attempt fails.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept for one host; further ones are closed after use.
pub const IDLE_CONNECTIONS_PER_HOST: usize = 64;
/// Bytes of one secret's value; a longer one is refused.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// Signatures of one webhook that are tried; further ones are ignored.
pub const SIGNATURES_PER_WEBHOOK: usize = 8;
/// How exactly it is known when a plan was last used, in milliseconds.
pub const PLAN_USE_MS: u64 = 3_600_000;
/// Calls that an endpoint worker has under way at once; a further one is told to come again.
pub const WORKER_CALLS: usize = 4_096;
/// Further attempts that a caller of an endpoint worker may ask for; a greater wish is refused.
pub const WORKER_RETRIES_MAX: u64 = 100;
/// How long one call of an endpoint worker may take with all its attempts and waits: the attempt under
/// way is then cut short, and a wait that would last longer is not begun. No time or delay in a request
/// may be longer.
pub const WORKER_DURATION_MAX: Duration = Duration::from_secs(600);
/// Bytes of an endpoint worker's reply that a node reads: a body of [`RESPONSE_BYTES`] grows when it is
/// written as JSON. A longer one fails the node.
pub const WORKER_REPLY_BYTES: usize = 32 << 20;
/// Calls of models under way at once with one key by default; a further one waits its turn.
pub const LLM_CALLS_PER_KEY: usize = 64;
/// Calls that wait for one key; a further one fails, and may be tried again.
pub const LLM_CALLS_WAITING: usize = 100_000;
/// Keys of models whose limits are remembered; beyond, those that have nothing to remember are forgotten.
pub const LLM_KEYS: usize = 1_024;
/// How long a key rests at the most when its provider asks for a pause; then the next call finds out.
pub const LLM_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a model's answer that are cached; a longer one is not.
pub const ANSWER_BYTES_CACHED: usize = 1 << 20;
/// Models that metrics tell apart; further ones are counted together.
pub const MODELS_COUNTED: usize = 200;
/// Bytes of an email as it is sent, encoded attachments included; a larger one fails the node. Most servers
/// take about as much.
pub const EMAIL_BYTES_MAX: usize = 25 << 20;
/// Addresses in one setting of an email; more fail the node.
pub const EMAIL_RECIPIENTS: usize = 500;
/// Attachments of one email; more fail the node.
pub const EMAIL_ATTACHMENTS: usize = 100;
/// Bytes of one answer of a mail server; one that says more is hung up on.
pub const MAIL_ANSWER_BYTES: usize = 8 << 10;
/// How long a mail server may take for a message and its last word on it; then nobody knows whether it
/// was sent, unless the message had not gone out whole.
pub const MAIL_PATIENCE: Duration = Duration::from_secs(600);
/// How long a goodbye to a mail server may take; then the connection is closed without it.
pub const MAIL_GOODBYE: Duration = Duration::from_secs(2);
/// Rows of a data source that a node gets by default; the rest is not read, and the node says so.
pub const SOURCE_ROWS: u64 = 100;
/// Rows of a data source that a node may ask for; a greater wish is refused.
pub const SOURCE_ROWS_MAX: u64 = 10_000;
/// Bytes, roughly, that the rows of a data source may take as JSON; more fail the node.
pub const SOURCE_BYTES: usize = 10 << 20;
/// Bytes that a data source may send for one query; then the connection is closed and the node fails.
pub const SOURCE_WIRE_BYTES: usize = 64 << 20;
/// Values that a query may be given; more are refused.
pub const SOURCE_PARAMETERS: usize = 1_000;
/// Bytes of the text of a query; a longer one is refused.
pub const SOURCE_QUERY_BYTES: usize = 64 << 10;
/// Connections to one data source at once; a further query waits for one of them.
pub const SOURCE_CONNECTIONS: usize = 16;
/// Connections to data sources kept while nobody uses them, over all sources; beyond, the one that has
/// been idle longest is closed.
pub const SOURCE_CONNECTIONS_IDLE: usize = 64;
/// How long a connection to a data source is kept while nobody uses it; then it is closed.
pub const SOURCE_IDLE_TIME: Duration = Duration::from_secs(60);
/// How long a database is told to work on one statement; then it gives up by itself, should nobody
/// have told it that the attempt has ended.
pub const SOURCE_STATEMENT_TIME: Duration = Duration::from_secs(600);
/// How long a query waits for a lock on a SQLite file; then it fails, and may be tried again.
pub const SOURCE_LOCK_TIME: Duration = Duration::from_secs(5);
/// Writes that are known not to have reached their data source, and may be tried again; the oldest are
/// forgotten, and then are not.
pub const SOURCE_WRITES_REMEMBERED: usize = 10_000;
/// Connections that the library of MongoDB has to the servers of one source; a further one is closed.
pub const SOURCE_FORWARDED: usize = 256;
/// Megabytes of memory that a program of a user has where its node does not say.
pub const PROGRAM_MEMORY_MB: u32 = 64;
/// Megabytes of memory that a program has at the least; a smaller wish is refused. Python begins with 20.
pub const PROGRAM_MEMORY_MB_MIN: u32 = 32;
/// Megabytes of memory that a program may be given; a greater wish is refused.
pub const PROGRAM_MEMORY_MB_MAX: u32 = 512;
/// Bytes of a program's source; a longer one is refused.
pub const PROGRAM_CODE_BYTES: usize = 256 << 10;
/// Bytes of what a program works on, as JSON; a larger input fails the node.
pub const PROGRAM_INPUT_BYTES: usize = 32 << 20;
/// Bytes of a program's result as JSON; a larger one fails the node.
pub const PROGRAM_OUTPUT_BYTES: usize = 10 << 20;
/// Bytes that a program prints for its run's log; a last line says that there was more.
pub const PROGRAM_LOG_BYTES: usize = 64 << 10;
/// Bytes of one line that a program prints; the rest of it is cut.
pub const PROGRAM_LINE_BYTES: usize = 4 << 10;
/// Programs that one sandbox worker serves before another process takes its place.
pub const PROGRAMS_PER_WORKER: u32 = 1_000;
/// Stack of the thread in a worker that runs programs; deeper recursion of a jq expression fails the
/// node, that of a script is an exception in it.
pub const PROGRAM_STACK_BYTES: usize = 8 << 20;
