//! Traces: which trace a run belongs to, what is passed on to those whom it calls, and its spans for a
//! collector.
//!
//! The ids of spans follow from those of run, node and attempt. So a trace is a projection of the journal
//! like everything else: it is whole also where a crash came between.
//!
//! - [`export`]: the spans of a run that has ended, over OTLP
//! - `spans`: which they are

pub mod export;
mod spans;

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use waystation_core::entry::Start;
use waystation_core::plan::NodeIndex;

use crate::id::RunId;

/// A span as the header `traceparent` names it (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub(super) trace: u128,
    pub(super) span: u64,
    flags: u8,
}

/// Says that the trace is recorded.
const SAMPLED: u8 = 1;

impl FromStr for TraceParent {
    type Err = ();

    fn from_str(text: &str) -> Result<TraceParent, ()> {
        let mut parts = text.trim().split('-');
        let mut part = |letters: usize| {
            let part = parts.next().filter(|part| part.len() == letters);
            part.filter(|part| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        };
        let version = part(2).filter(|version| *version != "ff").ok_or(())?;
        let trace = part(32).and_then(|text| u128::from_str_radix(text, 16).ok());
        let span = part(16).and_then(|text| u64::from_str_radix(text, 16).ok());
        let flags = part(2).and_then(|text| u8::from_str_radix(text, 16).ok());
        let (trace, span) = (trace.filter(|id| *id != 0), span.filter(|id| *id != 0));
        // Later versions may have more behind.
        if version == "00" && parts.next().is_some() {
            return Err(());
        }
        match (trace, span, flags) {
            (Some(trace), Some(span), Some(flags)) => Ok(TraceParent { trace, span, flags }),
            _ => Err(()),
        }
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.flags & SAMPLED;
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace, self.span)
    }
}

impl TraceParent {
    /// The span that began a run, as its caller has told it.
    pub(super) fn told(start: &Start) -> Option<TraceParent> {
        start.trace.as_deref()?.parse().ok()
    }

    /// The span of a run.
    pub(super) fn of_run(run: RunId, start: &Start) -> TraceParent {
        let bytes = hash(&format!("run {run}"));
        let (trace, flags) = match TraceParent::told(start) {
            Some(told) => (told.trace, told.flags),
            None => (u128::from_be_bytes(first(&bytes)).max(1), SAMPLED),
        };
        TraceParent { trace, span: span_of(&format!("run {run}")), flags }
    }

    /// The span of a node.
    pub(super) fn of_node(self, run: RunId, node: NodeIndex) -> TraceParent {
        TraceParent { span: span_of(&format!("node {run} {node}")), ..self }
    }

    /// The span of an attempt at it.
    pub(super) fn of_attempt(self, run: RunId, node: NodeIndex, attempt: u32) -> TraceParent {
        TraceParent { span: span_of(&format!("attempt {run} {node} {attempt}")), ..self }
    }
}

/// What an attempt passes on to those whom it calls: nothing, where neither the caller has told a trace nor
/// one is recorded here.
pub(crate) fn passed_on(
    start: &Start,
    is_recorded: bool,
    run: RunId,
    (node, attempt): (NodeIndex, u32),
) -> Option<TraceParent> {
    let is_wanted = is_recorded || start.trace.is_some();
    is_wanted.then(|| TraceParent::of_run(run, start).of_attempt(run, node, attempt))
}

fn hash(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    bytes
}

fn first<const N: usize>(bytes: &[u8; 32]) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[..N]);
    part
}

fn span_of(text: &str) -> u64 {
    // Other bytes than those of a trace; 0 names no span.
    let bytes = hash(text);
    let mut part = [0; 8];
    part.copy_from_slice(&bytes[24..]);
    u64::from_be_bytes(part).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn headers_are_read_as_the_standard_says() {
        assert_eq!(TOLD.parse::<TraceParent>().unwrap().to_string(), TOLD);
        let later = format!("cc{}-what-comes-later", &TOLD[2..]);
        assert!(later.parse::<TraceParent>().is_ok());
        for wrong in [
            "",
            "00",
            &TOLD[..54],
            &TOLD.to_uppercase(),
            &format!("{TOLD}-x"),
            &format!("ff{}", &TOLD[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        ] {
            assert!(wrong.parse::<TraceParent>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_follow_from_ids_and_belong_to_the_trace_of_the_caller() {
        let run: RunId = RunId::new();
        let told = Start { trace: Some(TOLD.into()), ..Start::default() };
        let own = Start::default();
        assert_eq!(
            TraceParent::of_run(run, &told).trace,
            0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c
        );
        assert_eq!(TraceParent::of_run(run, &own), TraceParent::of_run(run, &own));
        assert_ne!(
            TraceParent::of_run(run, &own).trace,
            TraceParent::of_run(RunId(run.0 + 1), &own).trace
        );
        let first = passed_on(&told, false, run, (0, 1)).unwrap();
        assert_ne!(first.span, passed_on(&told, false, run, (0, 2)).unwrap().span);
        assert_eq!(passed_on(&own, false, run, (0, 1)), None, "nobody asked for it");
        assert!(passed_on(&own, true, run, (0, 1)).is_some());
    }
}
