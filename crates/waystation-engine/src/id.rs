//! Ids: of runs, 63-bit, ordered by time, shown as 13 letters and digits; of stored workflows, 24
//! hexadecimal digits.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Crockford's alphabet in lower case: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LETTERS: usize = 13;
/// Ids of one millisecond before the next one is borrowed from.
const COUNTER_BITS: u32 = 20;

/// Names one run. Later runs have greater ids, which keeps the store's inserts in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

impl RunId {
    /// A new id, greater than all that this process gave out before.
    pub fn new() -> RunId {
        static LAST: AtomicI64 = AtomicI64::new(0);
        let floor = (now_ms() as i64) << COUNTER_BITS;
        let next = |last: i64| Some(floor.max(last + 1));
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        RunId(floor.max(last.unwrap_or(0) + 1))
    }

    /// The least id of a run that begins at a moment or later.
    pub fn first_at(unix_ms: u64) -> RunId {
        RunId(i64::try_from(unix_ms).unwrap_or(i64::MAX).saturating_mul(1 << COUNTER_BITS))
    }
}

impl Default for RunId {
    fn default() -> RunId {
        RunId::new()
    }
}

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; LETTERS];
        let mut rest = self.0 as u64;
        for letter in text.iter_mut().rev() {
            *letter = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no run id.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidRunId;

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<RunId, InvalidRunId> {
        if text.len() != LETTERS {
            return Err(InvalidRunId);
        }
        let digit = |byte| ALPHABET.iter().position(|letter| *letter == byte).ok_or(InvalidRunId);
        let value =
            text.bytes().try_fold(0u128, |sum, byte| Ok(sum << 5 | digit(byte)? as u128))?;
        i64::try_from(value).map(RunId).map_err(|_| InvalidRunId)
    }
}

/// Names one stored workflow, as a MongoDB ObjectId does: the second of its creation, what tells
/// processes apart, and a counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowId(pub [u8; 12]);

impl WorkflowId {
    /// A new id, unlike all others.
    pub fn new() -> WorkflowId {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(now_ms()));
        static COUNTER: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(*PROCESS as u32));
        let seconds = (now_ms() / 1_000) as u32;
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 12];
        id[..4].copy_from_slice(&seconds.to_be_bytes());
        id[4..9].copy_from_slice(&PROCESS.to_be_bytes()[..5]);
        id[9..].copy_from_slice(&count.to_be_bytes()[1..]);
        WorkflowId(id)
    }
}

impl Default for WorkflowId {
    fn default() -> WorkflowId {
        WorkflowId::new()
    }
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no workflow id.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidWorkflowId;

impl FromStr for WorkflowId {
    type Err = InvalidWorkflowId;

    fn from_str(text: &str) -> Result<WorkflowId, InvalidWorkflowId> {
        let digit = |letter: u8| char::from(letter).to_digit(16).ok_or(InvalidWorkflowId);
        let mut id = [0; 12];
        if text.len() != id.len() * 2 {
            return Err(InvalidWorkflowId);
        }
        for (byte, letters) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = (digit(letters[0])? << 4 | digit(letters[1])?) as u8;
        }
        Ok(WorkflowId(id))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_grow_and_round_trip() {
        let ids: Vec<RunId> = (0..10_000).map(|_| RunId::new()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(RunId(i64::MAX).to_string().parse(), Ok(RunId(i64::MAX)));
    }

    #[test]
    fn ids_are_in_order_of_time() {
        let now = now_ms();
        let id = RunId::new();
        assert!(RunId::first_at(now) <= id && id < RunId::first_at(now + 60_000));
        assert_eq!(RunId::first_at(u64::MAX), RunId(i64::MAX));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "zzzzzzzzzzzzz", "000000000000l", "00000000000001", "é00000000000"] {
            assert_eq!(text.parse::<RunId>(), Err(InvalidRunId), "{text}");
        }
    }

    #[test]
    fn workflow_ids_differ_and_round_trip() {
        let ids: Vec<WorkflowId> = (0..70_000).map(|_| WorkflowId::new()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.0[4..9] == ids[0].0[4..9]), "they tell the process");
        for id in [ids[0], WorkflowId([0; 12]), WorkflowId([255; 12])] {
            assert_eq!(id.to_string().len(), 24);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
        }
        let known: WorkflowId = "507f1f77bcf86cd799439011".parse().unwrap();
        assert_eq!(known.to_string(), "507f1f77bcf86cd799439011");
    }

    #[test]
    fn what_is_no_workflow_id_is_refused() {
        let short = "507f1f77bcf86cd79943901";
        for text in ["", short, "507f1f77bcf86cd7994390111", "507f1f77bcf86cd79943901g"] {
            assert_eq!(text.parse::<WorkflowId>(), Err(InvalidWorkflowId), "{text}");
        }
        assert_eq!("+".repeat(24).parse::<WorkflowId>(), Err(InvalidWorkflowId));
        assert_eq!("é".repeat(12).parse::<WorkflowId>(), Err(InvalidWorkflowId));
    }
}
