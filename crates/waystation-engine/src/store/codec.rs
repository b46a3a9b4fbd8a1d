//! How entries and values become bytes: one blob for each append, one for each large value.

use std::borrow::Cow;
use std::sync::Arc;

use ring::digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use waystation_core::entry::{Data, Entry};

use super::{Result, StoreError};
use crate::limits;

/// The first byte of every blob. Values are never given a second meaning: old blobs stay readable.
const JSON: u8 = 1;
/// JSON, compressed as one LZ4 block behind its length.
const LZ4: u8 = 2;
/// LZ4 cannot shrink anything further, so a blob that claims more is damaged.
const LZ4_RATIO_MAX: usize = 255;

/// The entries of one append, ready to be written.
#[derive(Debug)]
pub(crate) struct Batch {
    /// How many entries there are.
    pub(crate) count: u32,
    /// All of them.
    pub(crate) blob: Vec<u8>,
    /// The values that they refer to by hash.
    pub(crate) payloads: Vec<Payload>,
}

/// A value too large for the journal.
#[derive(Debug)]
pub(crate) struct Payload {
    /// SHA-256 of its JSON, hexadecimal.
    pub(crate) hash: String,
    /// The value.
    pub(crate) blob: Vec<u8>,
}

/// Turns the entries of one append into bytes, with large values set aside.
pub(crate) fn encode(mut entries: Vec<Entry>) -> Result<Batch> {
    let mut payloads = Vec::new();
    for data in entries.iter_mut().flat_map(|entry| entry.fact.values_mut()) {
        payloads.extend(set_aside(data)?);
    }
    let count = u32::try_from(entries.len()).map_err(StoreError::failed)?;
    Ok(Batch { count, blob: pack(&entries)?, payloads })
}

/// Reads the entries of one append back; `resolve` finds the values that were set aside.
pub(crate) fn decode(
    blob: &[u8],
    mut resolve: impl FnMut(&str) -> Result<Arc<Value>>,
) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = unpack(blob)?;
    for data in entries.iter_mut().flat_map(|entry| entry.fact.values_mut()) {
        if let Data::Stored { hash, .. } = data {
            *data = Data::Value(resolve(hash)?);
        }
    }
    Ok(entries)
}

/// A value as a blob.
pub(crate) fn pack(value: &impl Serialize) -> Result<Vec<u8>> {
    Ok(pack_json(&serde_json::to_vec(value).map_err(StoreError::failed)?))
}

/// The value of a blob.
pub(crate) fn unpack<T: DeserializeOwned>(blob: &[u8]) -> Result<T> {
    let json = unpack_json(blob)?;
    let mut reader = serde_json::Deserializer::from_slice(&json);
    // What could be written must be readable; entries nest values deeper than they were received.
    reader.disable_recursion_limit();
    T::deserialize(&mut reader).map_err(StoreError::failed)
}

/// JSON as a blob, compressed where that makes it smaller.
pub(crate) fn pack_json(json: &[u8]) -> Vec<u8> {
    if json.len() >= limits::COMPRESS_BYTES_MIN {
        let compressed = lz4_flex::block::compress_prepend_size(json);
        if compressed.len() < json.len() {
            return tagged(LZ4, &compressed);
        }
    }
    tagged(JSON, json)
}

/// The JSON of a blob.
pub(crate) fn unpack_json(blob: &[u8]) -> Result<Cow<'_, [u8]>> {
    match blob.split_first() {
        Some((&JSON, json)) => Ok(Cow::Borrowed(json)),
        Some((&LZ4, compressed)) => decompress(compressed).map(Cow::Owned),
        Some((format, _)) => Err(StoreError::failed(format!("unknown blob format {format}"))),
        None => Err(StoreError::failed("empty blob")),
    }
}

fn tagged(format: u8, bytes: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(bytes.len() + 1);
    blob.push(format);
    blob.extend_from_slice(bytes);
    blob
}

fn decompress(compressed: &[u8]) -> Result<Vec<u8>> {
    let (size, block) =
        lz4_flex::block::uncompressed_size(compressed).map_err(StoreError::failed)?;
    if size > block.len().saturating_mul(LZ4_RATIO_MAX) {
        return Err(StoreError::failed("a compressed blob claims an impossible size"));
    }
    lz4_flex::block::decompress(block, size).map_err(StoreError::failed)
}

/// Replaces a large value by its hash and gives the value back as a payload.
fn set_aside(data: &mut Data) -> Result<Option<Payload>> {
    let Data::Value(value) = data else {
        return Err(StoreError::failed("an entry to append holds a hash instead of its value"));
    };
    if json_bytes_min(value) <= limits::INLINE_BYTES_MAX {
        return Ok(None);
    }
    let json = serde_json::to_vec(value).map_err(StoreError::failed)?;
    let hash = content_hash(&json);
    *data = Data::Stored { hash: hash.clone(), bytes: json.len() as u64 };
    Ok(Some(Payload { hash, blob: pack_json(&json) }))
}

/// What a value's JSON takes at least: all but escapes and the digits of large numbers. Measuring so
/// costs a fraction of writing the JSON, which then happens only once, in its final place.
fn json_bytes_min(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 1,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 1 + items.iter().map(|item| json_bytes_min(item) + 1).sum::<usize>(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| name.len() + 4 + json_bytes_min(value);
            1 + fields.iter().map(field).sum::<usize>()
        }
    }
}

/// SHA-256 in lower-case hexadecimal: the name by which plans and large values are kept.
pub(crate) fn content_hash(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digest = digest::digest(&digest::SHA256, bytes);
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| DIGITS[digit as usize] as char);
    digest.as_ref().iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use serde_json::{Map, json};
    use waystation_core::entry::{Fact, Outcome, Start};

    use super::*;

    fn completed(output: Value) -> Entry {
        let output = output.into();
        Entry {
            at: 7,
            fact: Fact::NodeCompleted {
                node: 1,
                attempt: 1,
                output,
                port: None,
                details: Map::new(),
            },
        }
    }

    fn round_trip(entries: &[Entry]) -> Vec<Entry> {
        let batch = encode(entries.to_vec()).unwrap();
        assert_eq!(batch.count as usize, entries.len());
        let payloads: HashMap<_, _> =
            batch.payloads.into_iter().map(|payload| (payload.hash, payload.blob)).collect();
        decode(&batch.blob, |hash| unpack(&payloads[hash]).map(Arc::new)).unwrap()
    }

    #[test]
    fn large_values_are_set_aside_and_small_ones_are_not() {
        let limit = limits::INLINE_BYTES_MAX;
        for (bytes, aside) in [(10, 0), (limit - 2, 0), (limit - 1, 1), (limit * 20, 1)] {
            let entry = completed(Value::String("x".repeat(bytes)));
            let batch = encode(vec![entry.clone()]).unwrap();
            assert_eq!(batch.payloads.len(), aside, "{bytes}");
            assert!(batch.blob.len() < 2_000, "the journal's part is small or compressed");
            assert_eq!(round_trip(std::slice::from_ref(&entry)), [entry]);
        }
    }

    #[test]
    fn the_hash_is_that_of_the_json() {
        let value = json!({"text": "x".repeat(limits::INLINE_BYTES_MAX)});
        let expected = content_hash(value.to_string().as_bytes());
        let payload = encode(vec![completed(value)]).unwrap().payloads.remove(0);
        assert_eq!(payload.hash, expected);
        assert_eq!(payload.hash.len(), 64);
    }

    #[test]
    fn what_nests_as_deep_as_a_response_may_is_readable() {
        let text = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let entry = completed(serde_json::from_str(&text).unwrap());
        assert_eq!(round_trip(std::slice::from_ref(&entry)), [entry]);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let mut noise = Vec::new();
        for i in 0..40u8 {
            noise.extend_from_slice(digest::digest(&digest::SHA256, &[i]).as_ref());
        }
        assert_eq!(pack_json(&noise)[0], JSON);
        assert_eq!(pack_json(&[b'x'; 4_000])[0], LZ4);
        assert_eq!(pack_json(&[b'x'; 100])[0], JSON);
    }

    #[test]
    fn damaged_blobs_are_errors() {
        let impossible = [LZ4, 255, 255, 255, 255, 0];
        for blob in [&b""[..], b"\x01", b"\x01[", b"\x07[]", b"\x02", b"\x02abc", &impossible] {
            assert!(unpack::<Vec<Entry>>(blob).is_err(), "{blob:?}");
        }
    }

    /// Blobs as format 1 and 2 were first written. They must be readable for ever.
    #[test]
    fn recorded_blobs_stay_readable() {
        let start = Start {
            plan: "ab".into(),
            workflow: "w".into(),
            namespace: "n".into(),
            input: json!({"a": 1.5}).into(),
            ..Start::default()
        };
        let plain = [
            Entry { at: 1, fact: Fact::RunStarted(Box::new(start)) },
            completed(json!(["é", null])),
            Entry { at: 9, fact: Fact::RunFinished { outcome: Outcome::Completed } },
        ];
        let repeated = [completed(json!("x".repeat(2_000)))];
        let nothing = |_: &str| Err(StoreError::failed("no payload"));
        let read = decode(include_bytes!("testdata/entries-1.bin"), nothing).unwrap();
        assert_eq!(read, plain);
        let read = decode(include_bytes!("testdata/entries-2.bin"), nothing).unwrap();
        assert_eq!(read, repeated);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip_to_the_last_bit(values in prop::collection::vec(any_value(), 1..6)) {
            let entries: Vec<Entry> = values.into_iter().map(completed).collect();
            prop_assert_eq!(round_trip(&entries), entries);
        }

        #[test]
        fn the_measure_never_exceeds_the_json(value in any_value()) {
            prop_assert!(json_bytes_min(&value) <= value.to_string().len());
        }
    }
}
