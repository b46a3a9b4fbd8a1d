//! Definitions seen before: compiled once, stored once, shared by all their runs.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use ring::digest::SHA256;
use waystation_core::error::{Code, Error};
use waystation_core::plan::Plan;
use waystation_core::program::Program;

use crate::limits::PLAN_CACHE_BYTES;
use crate::store::Store;
use crate::store::codec::content_hash;

/// A definition ready to run.
pub struct Definition {
    /// The compiled plan.
    pub program: Arc<Program>,
    /// What its author should know about it.
    pub warnings: Vec<String>,
    /// The plan's JSON, which its hash is of.
    pub(super) json: Arc<[u8]>,
}

/// The fingerprint of a definition's source text.
pub type SourceKey = [u8; 32];

/// Fingerprints the parts of a source; their boundaries count.
pub fn source_key(parts: &[&str]) -> SourceKey {
    let mut context = ring::digest::Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[derive(Clone)]
struct BySize;

impl<K> Weighter<K, Arc<Definition>> for BySize {
    /// A compiled plan takes several times the room of its text.
    fn weight(&self, _: &K, definition: &Arc<Definition>) -> u64 {
        definition.json.len() as u64 * 6 + 1_024
    }
}

/// The definitions at hand, by source and by plan.
pub struct Plans {
    by_source: Cache<SourceKey, Arc<Definition>, BySize>,
    by_hash: Cache<Arc<str>, Arc<Definition>, BySize>,
}

impl Plans {
    pub(crate) fn new() -> Plans {
        let cache_items = 1_024;
        Plans {
            by_source: Cache::with_weighter(cache_items, PLAN_CACHE_BYTES / 2, BySize),
            by_hash: Cache::with_weighter(cache_items, PLAN_CACHE_BYTES / 2, BySize),
        }
    }

    /// The definition with this source, compiled now if it was not seen before.
    pub fn define<E: From<Error>>(
        &self,
        source: SourceKey,
        compile: impl FnOnce() -> Result<(Plan, Vec<String>), E>,
    ) -> Result<Arc<Definition>, E> {
        if let Some(known) = self.known(&source) {
            return Ok(known);
        }
        let (plan, warnings) = compile()?;
        Ok(self.add(source, plan, warnings)?)
    }

    fn known(&self, source: &SourceKey) -> Option<Arc<Definition>> {
        self.by_source.get(source)
    }

    fn add(
        &self,
        source: SourceKey,
        plan: Plan,
        warnings: Vec<String>,
    ) -> Result<Arc<Definition>, Error> {
        let json = serde_json::to_vec(&plan).map_err(|error| internal(&error.to_string()))?;
        let hash: Arc<str> = content_hash(&json).into();
        let program = load(plan, Arc::clone(&hash))?;
        let definition =
            Arc::new(Definition { program: Arc::new(program), warnings, json: json.into() });
        self.by_source.insert(source, Arc::clone(&definition));
        self.by_hash.insert(hash, Arc::clone(&definition));
        Ok(definition)
    }

    /// The definition of a stored plan.
    pub(crate) async fn stored(
        &self,
        store: &dyn Store,
        hash: &str,
    ) -> Result<Arc<Definition>, Error> {
        if let Some(known) = self.by_hash.get(hash) {
            return Ok(known);
        }
        let json = store.plan(hash).await?;
        let json = json.ok_or_else(|| internal(&format!("plan {hash} is not in the store")))?;
        let plan = serde_json::from_slice(&json).map_err(|error| internal(&error.to_string()))?;
        let hash: Arc<str> = hash.into();
        let definition = Arc::new(Definition {
            program: Arc::new(load(plan, Arc::clone(&hash))?),
            warnings: Vec::new(),
            json: json.into(),
        });
        self.by_hash.insert(hash, Arc::clone(&definition));
        Ok(definition)
    }
}

fn load(plan: Plan, hash: Arc<str>) -> Result<Program, Error> {
    Program::load(plan, hash).map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(|found| found.problem.to_string()).collect();
        Error::new(Code::DefinitionInvalid, texts.join("; "))
    })
}

fn internal(detail: &str) -> Error {
    tracing::error!(detail, "plan");
    Error::new(Code::Internal, "a stored plan cannot be used")
}
