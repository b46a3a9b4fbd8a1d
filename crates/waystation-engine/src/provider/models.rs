//! What nodes ask: a model by its provider's name, with everything that stands around a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use waystation_core::error::{Class, Code, Error, Failure};
use waystation_core::usage::Usage;

use super::cache::{self, Cache, Shelf};
use super::directory::{Directory, Listed};
use super::draft;
use super::flight::{Flights, Joined, Leader};
use super::limiter::limits::Limits;
use super::limiter::{LaneKey, Limiter, Turn};
use super::meters::{self, Meters};
use super::prices::Prices;
use super::settings::ModelSettings;
use super::{Finish, Manner, Message, Provider, Question, Reply, Role};
use crate::event::redis::RedisConfig;
use crate::event::redis::values::RedisValues;
use crate::id::now_ms;
use crate::node::AttemptContext;
use crate::secret::{Redactor, Secret};
use crate::store::{Store, day_of};

pub use super::directory::Entry;

/// Who is asked where nobody is named.
const PROVIDER: &str = "openai";
/// Who is asked instead, the first that can answer, where that one has no key.
const OTHERS: [&str; 3] = ["gateway", "openrouter", "anthropic"];

/// What a node wants to know.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The provider's name. Where it is not said, it is `openai`, or without a key for it
    /// the first of gateway, openrouter and anthropic that is configured.
    pub provider: Option<String>,
    /// The model; the provider's default where it is not said.
    pub model: Option<String>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How adventurous the answer may be.
    pub temperature: Option<f64>,
    /// Tokens that the answer may have.
    pub max_tokens: Option<u32>,
    /// The JSON Schema that the provider is told, where it can be.
    pub schema: Option<serde_json::Value>,
    /// Whether an equal question may be answered from the cache.
    pub cache: bool,
    /// Whether pieces of the answer are told as they come; only to whoever watches where it is not said.
    pub stream: Option<bool>,
    /// The key to use instead of the configured one.
    pub key: Option<Secret>,
}

/// An answer and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text, which may be empty.
    pub text: String,
    /// The provider's name.
    pub provider: String,
    /// The model that gave it.
    pub model: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it used. A cached answer keeps its tokens and costs nothing.
    pub usage: Usage,
    /// Whether it came from the cache, or from an equal question under way.
    pub cached: bool,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// What models are made of.
pub struct ModelParts {
    /// Who gives access to them.
    pub directory: Arc<dyn Directory>,
    /// What calls cost whose provider does not say it.
    pub prices: Prices,
    /// Keeps answers where there is no Redis, and knows what workflows have spent.
    pub store: Option<Arc<dyn Store>>,
    /// Keeps answers.
    pub redis: Option<RedisConfig>,
    /// Limits, the cache, budgets.
    pub settings: ModelSettings,
}

impl Default for ModelParts {
    fn default() -> ModelParts {
        ModelParts::from(BTreeMap::new())
    }
}

impl From<BTreeMap<String, Entry>> for ModelParts {
    /// These providers, the prices of the built-in table, and nothing that lasts.
    fn from(providers: BTreeMap<String, Entry>) -> ModelParts {
        ModelParts {
            directory: Arc::new(providers),
            prices: Prices::default(),
            store: None,
            redis: None,
            settings: ModelSettings::default(),
        }
    }
}

/// The models of an installation.
pub struct Models {
    directory: Arc<dyn Directory>,
    prices: Prices,
    store: Option<Arc<dyn Store>>,
    settings: ModelSettings,
    cache: Option<Cache>,
    flights: Flights<Result<Reply, Failure>>,
    limiter: Limiter,
    meters: Meters,
}

impl Default for Models {
    fn default() -> Models {
        Models::new(ModelParts::default())
    }
}

/// A question with all that is needed to get it answered.
struct Query {
    /// The provider's name.
    name: Arc<str>,
    provider: Arc<dyn Provider>,
    question: Question,
    key: Result<Option<Secret>, Failure>,
    /// Whose limits apply, and who shares an answer under way.
    lane: LaneKey,
    stream: Option<bool>,
    began: Instant,
}

/// Tells keys apart without holding them.
fn fingerprint(key: &Secret) -> String {
    let digest = digest(&SHA256, key.expose().as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Query {
    /// The tokens that it will probably use.
    fn estimate(&self) -> u64 {
        let messages = self.question.messages.iter();
        let sent: u64 = messages.map(|message| draft::estimate(&message.text)).sum();
        sent + self.question.max_tokens.map_or(0, u64::from)
    }

    /// Whether somebody wants to hear the pieces of the answer.
    ///
    /// A secret that comes back in pieces could not be recognised, but for the key, which providers
    /// keep out of the pieces themselves.
    fn is_heard(&self, context: &AttemptContext) -> bool {
        let key = self.key.as_ref().ok().and_then(Option::as_ref).map(Secret::expose);
        if context.secrets().iter().any(|secret| Some(secret.expose()) != key) {
            return false;
        }
        self.stream.unwrap_or_else(|| context.is_watched())
    }

    fn answer(&self, reply: Reply, usage: Usage, latency_ms: u64) -> Answer {
        let Reply { text, model, finish, .. } = reply;
        let (provider, cached) = (self.name.to_string(), usage.cached > 0);
        Answer { text, provider, model, finish, usage, cached, latency_ms }
    }
}

impl Models {
    /// Models of these parts. Providers alone will do.
    pub fn new(parts: impl Into<ModelParts>) -> Models {
        let ModelParts { directory, prices, store, redis, settings } = parts.into();
        let shelf = match redis {
            Some(config) => Some(Shelf::Redis(Box::new(RedisValues::new(config)))),
            None => store.clone().map(Shelf::Store),
        };
        Models {
            directory,
            prices,
            store,
            cache: settings.cache.and_then(|keep| Some(Cache::new(shelf?, keep))),
            flights: Flights::default(),
            limiter: Limiter::new(settings.limits.clone()),
            meters: Meters::default(),
            settings,
        }
    }

    /// Asks a model. What it used is counted in the attempt's ties, also where the answer is of no use.
    pub async fn ask(&self, ask: Ask, context: &AttemptContext) -> Result<Answer, Failure> {
        let cached = ask.cache;
        let query = self.resolve(ask)?;
        match &self.cache {
            Some(cache) if cached => self.ask_once(&query, cache, context).await,
            _ => {
                let (reply, usage, latency_ms) = self.call(&query, context).await?;
                Ok(query.answer(reply, usage, latency_ms))
            }
        }
    }

    /// All providers that have a name, with their limits.
    pub fn list(&self) -> Vec<(Listed, Limits)> {
        let limits = |listed: &Listed| self.settings.limits.of(&listed.name);
        self.directory.list().into_iter().map(|listed| (listed.clone(), limits(&listed))).collect()
    }

    /// Asks a provider something tiny, to know that it answers.
    pub async fn test(&self, provider: &str, model: Option<String>) -> Result<Answer, Failure> {
        let message = Message { role: Role::User, text: "Answer with the word: ready".into() };
        let provider = Some(provider.to_owned());
        let (messages, stream) = (vec![message], Some(false));
        let ask = Ask { provider, model, messages, stream, ..Ask::default() };
        self.ask(ask, &AttemptContext::alone()).await
    }

    fn resolve(&self, ask: Ask) -> Result<Query, Failure> {
        let began = Instant::now();
        let Ask { provider, model, messages, temperature, max_tokens, schema, .. } = ask;
        let name = provider.as_deref().unwrap_or_else(|| self.unnamed(ask.key.is_some()));
        let access = self.directory.find(name)?;
        let model = model.or(access.default_model).unwrap_or_default();
        let question = Question { model, messages, temperature, max_tokens, schema };
        let key = ask.key.map_or(access.key, |key| Ok(Some(key)));
        let name = Arc::<str>::from(name);
        let lane = (Arc::clone(&name), key.as_ref().ok().and_then(Option::as_ref).map(fingerprint));
        let (provider, stream) = (access.provider, ask.stream);
        Ok(Query { name, provider, question, key, lane, stream, began })
    }

    /// The provider that is asked where nobody is named.
    fn unnamed(&self, has_key: bool) -> &'static str {
        let can_answer =
            |name: &str| self.directory.find(name).is_ok_and(|access| access.key.is_ok());
        if has_key || can_answer(PROVIDER) {
            return PROVIDER;
        }
        OTHERS.into_iter().find(|name| can_answer(name)).unwrap_or(PROVIDER)
    }

    /// Answers from the cache, or from an equal question under way, or else asks for all who do.
    async fn ask_once(
        &self,
        query: &Query,
        cache: &Cache,
        context: &AttemptContext,
    ) -> Result<Answer, Failure> {
        let key = cache::key(&query.name, &query.question);
        // An answer under way is shared by those who would have asked with the same key only: what
        // the provider thinks of one key is not true of another.
        let flight = format!("{key}:{}", query.lane.1.as_deref().unwrap_or_default());
        loop {
            match self.flights.join(&flight) {
                Joined::Leader(leader) => {
                    return self.lead(query, (cache, &key), leader, context).await;
                }
                Joined::Follower(follower) => {
                    let reason = "waits for the answer to an equal question";
                    match context.waiting(reason, follower.answer()).await {
                        Some(reply) => return Ok(recalled(query, reply?, context)),
                        // Who asked has left; somebody has to take over.
                        None => continue,
                    }
                }
            }
        }
    }

    async fn lead(
        &self,
        query: &Query,
        (cache, key): (&Cache, &str),
        leader: Leader<'_, Result<Reply, Failure>>,
        context: &AttemptContext,
    ) -> Result<Answer, Failure> {
        // Only now: an earlier one who asked may have been answered a moment ago.
        if let Some(reply) = cache.get(key).await {
            leader.share(Ok(reply.clone()));
            return Ok(recalled(query, reply, context));
        }
        match self.call(query, context).await {
            Ok((reply, usage, latency_ms)) => {
                cache.put(key, &reply).await;
                leader.share(Ok(reply.clone()));
                Ok(query.answer(reply, usage, latency_ms))
            }
            Err(failure) => {
                if !is_private(&failure) {
                    leader.share(Err(failure.clone()));
                }
                Err(failure)
            }
        }
    }

    /// Makes a call in its turn and counts what it used.
    async fn call(
        &self,
        query: &Query,
        context: &AttemptContext,
    ) -> Result<(Reply, Usage, u64), Failure> {
        self.check_budgets(context).await?;
        let key = query.key.clone()?;
        let mut turn = self.limiter.turn(query.lane.clone(), query.estimate(), context).await?;
        if turn.waited {
            self.check_budgets(context).await?;
        }
        let _place = context.place().await;
        let tell = |piece: &str| context.tell(piece);
        let is_heard = query.is_heard(context);
        let manner = Manner { key: key.as_ref(), tell: is_heard.then_some(&tell as _) };
        let call = self.meters.begin(&query.name, &query.question.model);
        let outcome = query.provider.ask(&query.question, manner).await;
        let latency_ms = call.latency_ms();
        match outcome {
            Ok(mut reply) => {
                // Before it is kept for others, or shared with those who ask the same.
                redact(&mut reply.text, context.secrets());
                let usage = self.usage(query, &reply);
                context.spend(&usage);
                turn.used(usage.paid_tokens);
                call.ended(Ok(&usage));
                Ok((reply, usage, latency_ms))
            }
            Err(failure) => {
                heed(&turn, &failure);
                call.ended(Err(&failure));
                Err(failure)
            }
        }
    }

    /// What a call used. Its price goes by the model asked for, or else by the one that answered.
    fn usage(&self, query: &Query, reply: &Reply) -> Usage {
        let Reply { prompt_tokens, completion_tokens, nano_usd, .. } = *reply;
        let price = |model: &str| {
            self.prices.nano_usd(&query.name, model, prompt_tokens, completion_tokens)
        };
        let price = || price(&query.question.model).or_else(|| price(&reply.model));
        Usage {
            calls: 1,
            cached: 0,
            prompt_tokens,
            completion_tokens,
            paid_tokens: prompt_tokens.saturating_add(completion_tokens),
            nano_usd: nano_usd.or_else(price).unwrap_or_default(),
        }
    }

    /// Refuses once the run or its workflow has used up what it may.
    async fn check_budgets(&self, context: &AttemptContext) -> Result<(), Failure> {
        context.check_budget()?;
        let budget = &self.settings.workflow_budget;
        let (namespace, workflow) = context.workflow();
        let Some(store) = self.store.as_ref().filter(|_| !budget.is_unlimited()) else {
            return Ok(());
        };
        let spent = store.spent(namespace, workflow, day_of(now_ms())).await;
        let mut used = spent.map_err(|failed| {
            let Error { code, message, .. } = failed.into();
            Failure::retryable(code, message, None)
        })?;
        used.add(&context.spent());
        used.reaches(budget).map_or(Ok(()), |amount| {
            let text = format!("The budget of workflow {workflow} for today is used up: {amount}");
            Err(Failure::fatal(Code::BudgetExceeded, text))
        })
    }
}

/// An answer that took no call: counted, told at once to who wants to hear it, free.
fn recalled(query: &Query, reply: Reply, context: &AttemptContext) -> Answer {
    let Reply { prompt_tokens, completion_tokens, .. } = reply;
    let usage = Usage { cached: 1, prompt_tokens, completion_tokens, ..Usage::default() };
    context.spend(&usage);
    meters::count_cached(&query.name);
    if query.is_heard(context) {
        context.tell(&reply.text);
    }
    query.answer(reply, usage, query.began.elapsed().as_millis() as u64)
}

/// Whether a failure is one of who asked, and says nothing about others who ask the same.
fn is_private(failure: &Failure) -> bool {
    matches!(failure.code, Code::BudgetExceeded | Code::ModelKeyMissing | Code::Busy | Code::Store)
}

/// Lets a key rest when its provider asks for that.
fn heed(turn: &Turn, failure: &Failure) {
    if let (Code::HttpStatus, Class::Retryable { after_ms: Some(wait) }) =
        (failure.code, failure.class)
    {
        turn.pause(Duration::from_millis(wait));
    }
}

fn redact(text: &mut String, secrets: &[Secret]) {
    if !secrets.is_empty() {
        *text = Redactor::new(secrets).redact_text(text).into_owned();
    }
}

#[cfg(test)]
mod tests;
